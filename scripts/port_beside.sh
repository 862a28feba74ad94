#!/bin/sh
# Prints the option with which `make serve` serves operators: on the port after the server's own, given as argument.
# Nothing where settings say where, or where that port cannot be had: the server takes a free one, or another program has it.
port=${1:-${ECROSS_SERVER_PORT:-8000}}
if [ -z "${ECROSS_SERVER_ADMIN_PORT:-}${ECROSS_SERVER_CONFIG:-}" ] &&
    .venv/bin/python - "$port" <<'PROBE' 2>/dev/null
import socket, sys

port = int(sys.argv[1])
with socket.socket() as probe:
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", port + 1 if port else -1))
PROBE
then
    echo "--admin-port $((port + 1))"
fi
