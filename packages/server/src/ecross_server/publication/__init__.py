"""What each sales channel shows of what merchants sell: listings, and the feeds that channels read."""
