"""Merchants, their clients and the clients' secrets: who may ask for a token. Tokens themselves live in `auth`."""
