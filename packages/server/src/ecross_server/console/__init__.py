"""The console for representatives: pages made on the server, on the listener for administration.

Nothing is decided here: every act is the services' own, as the commands use it.
"""
