"""The listening sockets: one for each worker process, so that the kernel spreads connections evenly.

With one shared socket a worker took every connection in many runs, see docs/decisions/0006.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import sys
from typing import Final

from ecross_server.kit.errors import ConflictError, InvalidInputError

BACKLOG: Final = 2048
LAST_PORT: Final = 65535


class PortTakenError(ConflictError):
    """Another program listens on the port."""

    code = "port_taken"

    def __init__(self, host: str, port: int) -> None:
        other = port + 1 if port < LAST_PORT else port - 1
        super().__init__(
            f"Port {port} on {host} is taken by another program. Stop that one, or choose another port: "
            f"make serve PORT={other}, or ecross-server serve --port {other}"
        )


class UnusableAddressError(InvalidInputError):
    """An address that is none of this machine, or may not be listened on."""

    code = "unusable_address"

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"Cannot listen on {host} port {port}: {reason}. Check the settings HOST, PORT and WORKERS.")


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """So many sockets listening on the address; port 0 takes a free one.

    Raises:
        PortTakenError: if another program listens there.
        UnusableAddressError: if the address is none of this machine, or may not be used.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return _open(family, address, count)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(host, port) from None
        raise UnusableAddressError(host, port, error.strerror or str(error)) from None
    except ValueError:  # a host that no name server could be asked for
        raise UnusableAddressError(host, port, "this is no host's name") from None


def _open(family: int, address: object, count: int) -> list[socket.socket]:
    with contextlib.ExitStack() as opened:
        # Without SO_REUSEPORT at first: with it, a second server would bind silently and take half the connections.
        first = opened.enter_context(_bind(family, address, share=False))
        if count == 1:
            sockets = [first]
        elif sys.platform == "linux":
            address = first.getsockname()
            first.close()
            sockets = [opened.enter_context(_bind(family, address, share=True)) for _ in range(count)]
        else:  # pragma: no cover - elsewhere SO_REUSEPORT does not spread connections, so all workers share one socket
            sockets = [first, *(opened.enter_context(first.dup()) for _ in range(count - 1))]
        for listening in sockets:
            listening.listen(BACKLOG)
        opened.pop_all()
    return sockets


def _bind(family: int, address: object, *, share: bool) -> socket.socket:
    with contextlib.ExitStack() as opened:
        bound = opened.enter_context(socket.socket(family, socket.SOCK_STREAM))
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)  # type: ignore[arg-type] # getaddrinfo's own
        opened.pop_all()
    return bound
