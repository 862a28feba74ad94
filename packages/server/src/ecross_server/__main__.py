"""``python -m ecross_server`` is the command ``ecross-server``."""

from ecross_server.cli.main import main

main()
