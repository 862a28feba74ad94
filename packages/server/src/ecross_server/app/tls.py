"""Certificate and key for https, taken anew when their files have changed, without dropping a connection."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

import structlog

from ecross_server.kit.errors import ConflictError
from ecross_server.settings import variable

CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has no others."""

log = structlog.get_logger("ecross_server.tls")


class UnusableTlsFilesError(ConflictError):
    """A certificate and key that cannot serve."""

    code = "unusable_tls_files"

    def __init__(self, reason: str) -> None:
        names = " and ".join(map(variable, ("tls_cert_file", "tls_key_file")))
        super().__init__(
            f"The files of {names} cannot be used: {reason}. They must be PEM files of one pair, the key without a "
            "passphrase."
        )


def make_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """What serves https with the pair.

    Raises:
        UnusableTlsFilesError: naming what is wrong.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    try:
        # With a passphrase, however wrong, for without one it would be asked for on the terminal.
        context.load_cert_chain(cert_file, key_file, "-")
    except ssl.SSLError as error:
        raise UnusableTlsFilesError((error.reason or "unknown content").replace("_", " ").lower()) from None
    except OSError as error:
        raise UnusableTlsFilesError(error.strerror or str(error)) from None
    return context


class Certificates:
    """The pair that new connections are served with. `refresh` takes a changed one if it is good."""

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._files = (cert_file, key_file)
        self._seen = self._identity()
        self._problem: str | None = None
        self._newest = self.context = make_context(cert_file, key_file)
        # Loading into a context that serves would leave it with half a pair if the other half did not fit. So a new
        # one is made, and put in the old one's place at the beginning of each handshake.
        self.context.sni_callback = self._use_newest

    def use(self, cert_file: Path, key_file: Path) -> None:
        """Take the pair from these files from the next `refresh` on."""
        self._files = (cert_file, key_file)

    def refresh(self) -> None:
        """Take the files' pair if it has changed. One that is not good is logged, once, and tried again."""
        seen = self._identity()
        problem = None
        if seen != self._seen:
            try:
                self._newest = make_context(*self._files)
            except UnusableTlsFilesError as error:  # perhaps only the certificate has been written so far
                problem = error.message
            else:
                self._seen = seen
                log.info("tls_files_loaded")
        if problem is not None and problem != self._problem:
            log.error("tls_files_refused", reason=problem)
        self._problem = problem

    def _use_newest(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._newest

    def _identity(self) -> list[object]:
        return [(path, _stat(path)) for path in self._files]


def _stat(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
