"""Our commands for the shell of a reader, forked by the test: guides run some ninety of them."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from forking import MAINS, REQUEST_BYTES, ForkedProcess

STAND_IN = """#!{python} -IS
import json, os, socket, sys
umask = os.umask(0)
with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as test:
    test.connect({address!r})
    asked = [[{program!r}, *sys.argv[1:]], dict(os.environ), os.getcwd(), umask]
    socket.send_fds(test, [json.dumps(asked).encode()], [0, 1, 2])
    sys.exit(int(test.recv(16)))
"""
"""A program that asks for the fork, with its own streams, and ends as the fork does."""


@pytest.fixture
def stand_ins(tmp_path: Path) -> Iterator[Path]:
    """A folder for PATH in which our commands are programs that let this process fork them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    address = f"\0ecross-{secrets.token_hex(16)}"
    for name in MAINS:
        program = folder / name
        command = str(Path(sys.executable).with_name(name))
        program.write_text(STAND_IN.format(python=sys.executable, address=address, program=command))
        program.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(address)
        listening.listen()
        threading.Thread(target=_answer, args=(listening,), daemon=True).start()
        yield folder
        listening.shutdown(socket.SHUT_RDWR)


def _answer(listening: socket.socket) -> None:
    with contextlib.suppress(OSError):  # how an accept ends when the listening does
        while True:
            asking, _ = listening.accept()
            threading.Thread(target=_run, args=(asking,), daemon=True).start()


def _run(asking: socket.socket) -> None:
    with asking:
        message, streams, _, _ = socket.recv_fds(asking, REQUEST_BYTES, 3)
        arguments, variables, folder, umask = json.loads(message)
        with contextlib.ExitStack() as opened:
            stdin, stdout, stderr = (opened.enter_context(open(each, "wb", buffering=0)) for each in streams)  # noqa: PTH123 - descriptors
            process = ForkedProcess(
                arguments, env=variables, cwd=folder, umask=umask, stdin=stdin, stdout=stdout, stderr=stderr
            )
        code = process.wait()
        asking.send(str(code if code >= 0 else 128 - code).encode())
