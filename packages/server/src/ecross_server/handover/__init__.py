"""One-time links that hand a secret over: who opened one, and the reveal. Secrets are those of `merchants`."""
