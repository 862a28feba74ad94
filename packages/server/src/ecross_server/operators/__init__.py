"""Operators: who administers this server by name, how each proves it, and the sessions in which they work."""
