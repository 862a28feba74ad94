"""The pair of certificate and key, and what becomes of it when its files change."""

from __future__ import annotations

import io
import json
import os
import shutil
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from ecross_server.app.tls import Certificates, UnusableTlsFilesError
from ecross_server.kit.logs import configure_logs

MakePair = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def log() -> Callable[[], list[str]]:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    return lambda: [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


@pytest.fixture
def pair(tls_files: tuple[Path, Path]) -> tuple[Path, Path]:
    return tls_files


def served(certificates: Certificates) -> str:
    """The certificate that a new connection gets, as its PEM text."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    ours, theirs = (ssl.MemoryBIO(), ssl.MemoryBIO()), (ssl.MemoryBIO(), ssl.MemoryBIO())
    client = context.wrap_bio(*ours)
    server = certificates.context.wrap_bio(*theirs, server_side=True)
    done = 0
    for _ in range(6):
        for side in (client, server):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                pass
            theirs[0].write(ours[1].read())
            ours[0].write(theirs[1].read())
    assert done >= 2
    return ssl.DER_cert_to_PEM_cert(client.getpeercert(binary_form=True) or b"").strip()


def test_a_renewed_pair_is_served_from_the_next_refresh_on(
    pair: tuple[Path, Path], make_pair: MakePair, log: Callable[[], list[str]]
) -> None:
    certificates = Certificates(*pair)
    before = pair[0].read_text().strip()
    certificates.refresh()
    assert (served(certificates), log()) == (before, [])
    for old, new in zip(pair, make_pair("new"), strict=True):
        os.replace(new, old)  # noqa: PTH105 - as the tools that renew do
    certificates.refresh()
    assert served(certificates) == pair[0].read_text().strip() != before
    certificates.refresh()
    assert log() == ["tls_files_loaded"]


@pytest.mark.parametrize("fault", ["certificate alone", "nonsense", "gone", "half"])
def test_a_pair_that_is_not_good_leaves_the_old_one_and_is_tried_again(
    pair: tuple[Path, Path], make_pair: MakePair, log: Callable[[], list[str]], fault: str
) -> None:
    certificates = Certificates(*pair)
    before = pair[0].read_text().strip()
    certificate, key = make_pair("new")
    if fault == "certificate alone":
        shutil.copy(certificate, pair[0])
    elif fault == "nonsense":
        pair[0].write_text("nonsense")
    elif fault == "gone":
        pair[1].unlink()
    else:
        pair[1].write_text(pair[1].read_text()[:60])
    for _ in range(3):
        certificates.refresh()
        assert served(certificates) == before
    assert log() == ["tls_files_refused"]
    shutil.copy(certificate, pair[0])
    shutil.copy(key, pair[1])
    certificates.refresh()
    assert served(certificates) == pair[0].read_text().strip() != before
    assert log() == ["tls_files_refused", "tls_files_loaded"]


def test_other_files_can_be_named(pair: tuple[Path, Path], make_pair: MakePair) -> None:
    certificates = Certificates(*pair)
    other = make_pair("other")
    certificates.use(*other)
    certificates.refresh()
    assert served(certificates) == other[0].read_text().strip()


def test_only_what_is_safe_is_spoken(pair: tuple[Path, Path]) -> None:
    context = Certificates(*pair).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    for cipher in context.get_ciphers():
        assert cipher["aead"], cipher["name"]
        assert cipher["protocol"] == "TLSv1.3" or "ECDHE" in cipher["name"]


def test_without_a_pair_there_is_nothing_to_serve_with(pair: tuple[Path, Path]) -> None:
    pair[1].write_text("nonsense")
    with pytest.raises(UnusableTlsFilesError, match="ECROSS_SERVER_TLS_CERT_FILE and ECROSS_SERVER_TLS_KEY_FILE"):
        Certificates(*pair)
