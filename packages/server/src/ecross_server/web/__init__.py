"""HTTP without any domain: request ids and logs, the form of errors, sizes, the database for endpoints."""
