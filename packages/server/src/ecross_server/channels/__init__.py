"""Sales channels, and which merchants sell on them. What a channel shows is the publication's."""
