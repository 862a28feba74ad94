"""Administration over HTTP: what operators do with commands, under their own names. The services do the work."""
