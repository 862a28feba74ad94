"""The listening sockets: one for each worker process, so that the kernel spreads connections evenly.

With one shared socket a worker took every connection in many runs, see docs/decisions/0006.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import socket
import sys
from typing import Final

from ecross_server.kit.errors import ConflictError, InvalidInputError
from ecross_server.settings import Settings, variable

BACKLOG: Final = 2048
LAST_PORT: Final = 65535


class PortTakenError(ConflictError):
    """Another program listens on the port."""

    code = "port_taken"

    def __init__(self, host: str, port: int, how: str = "") -> None:
        other = port + 1 if port < LAST_PORT else port - 1
        how = how or f"make serve PORT={other}, or ecross-server serve --port {other}"
        super().__init__(
            f"Port {port} on {host} is taken by another program. Stop that one, or choose another port: {how}"
        )


class UnusableAddressError(InvalidInputError):
    """An address that is none of this machine, or may not be listened on."""

    code = "unusable_address"

    def __init__(self, host: str, port: int, reason: str, settings: str = "settings HOST, PORT and WORKERS") -> None:
        super().__init__(f"Cannot listen on {host} port {port}: {reason}. Check the {settings}.")
        self.reason = reason


class ClearTextError(ConflictError):
    """Whoever is on the way could read every secret and token."""

    code = "clear_text"

    def __init__(self, host: str, setting: str = "host") -> None:
        option = "--host, " if setting == "host" else ""
        super().__init__(
            f"On {host} secrets and tokens would go over the network in clear. Either set {variable('tls_cert_file')} "
            f"and {variable('tls_key_file')}, or name the proxy in front that speaks TLS in "
            f"{variable('trusted_proxies')}, or listen on 127.0.0.1 ({option}{variable(setting)})."
        )


def require_protection(settings: Settings) -> None:
    """Refuse to listen in clear on an address that others can reach, unless a proxy is named that stands in front.

    Raises:
        ClearTextError: if others could read what is sent.
        UnusableAddressError: if the address is none of this machine.
    """
    if settings.tls_cert_file is not None or settings.trusted_proxies:
        return
    places = [("host", settings.host, settings.port)]
    if settings.admin_port:
        places.append(("admin_host", settings.admin_host, settings.admin_port))
    for setting, host, port in places:
        _, address = _resolve(host, port)
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
        if not (getattr(ip, "ipv4_mapped", None) or ip).is_loopback:
            raise ClearTextError(host, setting)


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """So many sockets listening on the address; port 0 takes a free one.

    Raises:
        PortTakenError: if another program listens there.
        UnusableAddressError: if the address is none of this machine, or may not be used.
    """
    family, address = _resolve(host, port)
    try:
        return _open(family, address, count)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(host, port) from None
        raise UnusableAddressError(host, port, error.strerror or str(error)) from None


def listen_for_metrics(settings: Settings) -> socket.socket:
    """The socket that the metrics are served on: this machine's alone.

    Raises:
        PortTakenError: if another program listens there.
        UnusableAddressError: if the port may not be used.
    """
    port = settings.metrics_port or 0
    try:
        return listen("127.0.0.1", port, 1)[0]
    except UnusableAddressError as error:
        raise UnusableAddressError("127.0.0.1", port, error.reason, "setting METRICS_PORT") from None
    except PortTakenError:
        name = variable("metrics_port")
        raise PortTakenError("127.0.0.1", port, f"{name}=auto takes a free one, {name}=0 serves no metrics") from None


def listen_for_administration(settings: Settings) -> socket.socket | None:
    """The socket that operators reach; `None` where there is no administration over HTTP.

    Raises:
        PortTakenError: if another program listens there.
        UnusableAddressError: if the address is none of this machine, or may not be used.
    """
    host, port = settings.admin_host, settings.admin_port
    if port == 0:
        return None
    try:
        return listen(host, port, 1)[0]
    except UnusableAddressError as error:
        raise UnusableAddressError(host, port, error.reason, "settings ADMIN_HOST and ADMIN_PORT") from None
    except PortTakenError:
        name = variable("admin_port")
        raise PortTakenError(host, port, f"{name}, or --admin-port; 0 for no administration over HTTP") from None


def _resolve(host: str, port: int) -> tuple[int, tuple[object, ...]]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise UnusableAddressError(host, port, error.strerror or str(error)) from None
    except ValueError:  # a host that no name server could be asked for
        raise UnusableAddressError(host, port, "this is no host's name") from None
    return family, address


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
