"""The operator's command `ecross-server`."""
