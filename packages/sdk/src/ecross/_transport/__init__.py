"""The only part that sends: addresses that cannot be left, safe retries, errors that tell no secret."""
