"""Whether what merchants sell can be shown to shoppers of a country: checks by rules, and reviews by people."""
