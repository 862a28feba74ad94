"""The fake server on a socket: HTTP/1.1 on 127.0.0.1, a thread for each connection, for tests and nothing else."""

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Final

from ecross.testing._api import LARGEST_BODY
from ecross.testing._delivery import Delivery, Fault
from ecross.testing._messages import Response, phrase
from ecross.testing._transport import BODILESS, Receive, cut_headers

LINGER_SECONDS: Final = 2.0
"""So long is read and thrown away what a client still sends after its last answer: else it might never see that."""

POLL_SECONDS: Final = 0.02
RESET_AT_CLOSE: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


class SocketServer(ThreadingMixIn, TCPServer):
    """Listens on a free port of 127.0.0.1 until it is closed."""

    # Not the library's HTTPServer, which asks for the machine's name and waits where names are looked up slowly.
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, receive: Receive, refuse: Callable[[], Response]) -> None:
        super().__init__(("127.0.0.1", 0), Connection)
        self.receive = receive
        self.refuse = refuse
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(POLL_SECONDS,), name="ecross-fake-server", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def close(self) -> None:
        """Stop listening, and end every connection."""
        self.stopping.set()
        self.shutdown()
        self._thread.join()
        self.server_close()
        with self._lock:
            for connection in self._open:
                _shut_down(connection)

    def admit(self, connection: socket.socket) -> None:
        """Note an open connection."""
        with self._lock:
            self._open.add(connection)
            if self.stopping.is_set():
                _shut_down(connection)

    def forget(self, connection: socket.socket) -> None:
        """Note that a connection has ended."""
        with self._lock:
            self._open.discard(connection)


class Connection(BaseHTTPRequestHandler):
    """One connection and its requests."""

    server: SocketServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        """Begin."""
        super().setup()
        self.server.admit(self.connection)

    def handle(self) -> None:
        """Answer its requests, until either side ends it."""
        with contextlib.suppress(OSError):
            super().handle()

    def finish(self) -> None:
        """End."""
        self.server.forget(self.connection)
        super().finish()

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every method of a request is answered the same way."""
        if name.startswith("do_"):
            return self._answer
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Log nothing: requests are recorded elsewhere."""

    def send_error(self, *_: object) -> None:
        """Refuse what is no request, and end the connection."""
        self._write(self.server.refuse())
        self._linger()

    def _answer(self) -> None:
        body = self._read_body() if self.request_version.startswith("HTTP/1.") else None
        if body is None:
            self.send_error()
            return
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in self.headers.items()]
        target = self.requestline.split()[1].encode("latin-1")
        delivery = self.server.receive(self.command, target, fields, body)
        if self.server.stopping.wait(delivery.delay_seconds):
            self.close_connection = True
        else:
            self._deliver(delivery)

    def _deliver(self, delivery: Delivery) -> None:
        response = delivery.response
        match delivery.fault:
            case Fault.SILENCE:
                while self.rfile.read1(65536):  # until the client or the server gives up
                    pass
                self.close_connection = True
            case Fault.REFUSED | Fault.LOST:
                self._reset()
            case Fault.CUT:
                self._write(Response(response.status, cut_headers(response), response.content))
                self.close_connection = True
            case _:
                self._write(response)
                if (b"connection", b"close") in response.headers:
                    self._linger()

    def _write(self, response: Response) -> None:
        head = [b"HTTP/1.1 %d %b" % (response.status, phrase(response.status).encode())]
        head += [name + b": " + value for name, value in response.headers]
        if self.close_connection and all(name != b"connection" for name, _ in response.headers):
            head.append(b"connection: close")
        is_bodiless = self.command == "HEAD" or response.status in BODILESS
        self.wfile.write(b"\r\n".join([*head, b"", b""]) + (b"" if is_bodiless else response.content))

    def _linger(self) -> None:
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER_SECONDS)
        with contextlib.suppress(TimeoutError):
            while self.rfile.read1(65536):
                pass

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        self.server.forget(self.connection)
        socket.close(self.connection.detach())

    def _read_body(self) -> bytes | None:
        """The body, no more of it than any answer depends on; `None` if its end cannot be told."""
        lengths = self.headers.get_all("content-length", [])
        codings = self.headers.get_all("transfer-encoding", [])
        if codings:
            return self._read_chunks() if not lengths and [each.lower() for each in codings] == ["chunked"] else None
        if not lengths:
            return b""
        if len(lengths) > 1 or not (lengths[0].isascii() and lengths[0].isdigit()):
            return None
        length = int(lengths[0])
        if length > LARGEST_BODY:  # refused by what it announces
            return b""
        body = self.rfile.read(length)
        if len(body) < length:
            raise ConnectionError
        return body

    def _read_chunks(self) -> bytes | None:
        body = b""
        while True:
            size = self.rfile.readline(1024).partition(b";")[0].strip()
            try:
                length = int(size, 16)
            except ValueError:
                return None
            if length == 0:
                break
            body += self.rfile.read(length)
            if self.rfile.readline(3) not in {b"\r\n", b"\n"}:
                return None
            if len(body) > LARGEST_BODY:
                return body
        while self.rfile.readline(1024).strip():  # trailers
            pass
        return body


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the client has ended it
        connection.shutdown(socket.SHUT_RDWR)
