"""Puts the parts together to serve: the application, the health of it, and the processes that run it."""
