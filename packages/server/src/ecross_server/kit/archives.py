"""Archives: a tar file whose first member, the manifest, says of every other one how long it is and its SHA-256.

Reading trusts nothing: members are plain files of expected names, written under names of our own.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, Final, Protocol, cast

from ecross_server.kit.errors import ConflictError

MANIFEST: Final = "manifest.json"
PART_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}(/[a-z0-9_-]{1,64})?(\.[a-z0-9]{1,8})?")
MANIFEST_BYTES: Final = 1024 * 1024
BLOCK_BYTES: Final = 256 * 1024


class UnusableArchiveError(ConflictError):
    """A file that is no archive of ours, or not as it was written."""

    code = "unusable_archive"

    def __init__(self, reason: str) -> None:
        super().__init__(f"The file cannot be used: {reason}.")


class Sink(Protocol):
    """What an archive is written to."""

    def write(self, data: bytes, /) -> int:
        """Take bytes."""
        ...


class Source(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, none at the end."""
        ...


def write_archive(out: Sink, about: Mapping[str, Any], parts: Mapping[str, Path]) -> None:
    """Write the files under their names, after a manifest that holds `about` and their sizes and hashes."""
    listed = [{"name": name, "size": path.stat().st_size, "sha256": _sha256(path)} for name, path in parts.items()]
    manifest = json.dumps({**about, "parts": listed}, indent=2).encode()
    # The GNU form tells sizes of any length in the header itself.
    with tarfile.open(fileobj=cast("Any", out), mode="w|", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(_member(MANIFEST, len(manifest)), io.BytesIO(manifest))
        for name, path in parts.items():
            with path.open("rb") as file:
                archive.addfile(_member(name, path.stat().st_size), file)


def read_archive(source: Source, folder: Path) -> tuple[dict[str, Any], dict[str, Path]]:
    """The manifest, and the files, written into the folder with mode 0600: each whole and as it was.

    Raises:
        UnusableArchiveError: if anything is missing, added, changed, or not a plain file.
    """
    try:
        with tarfile.open(fileobj=cast("Any", source), mode="r|") as archive:
            manifest = _read_manifest(archive)
            expected = _expected_parts(manifest)
            parts = {name: _extract(archive, entry, folder / f"part-{n}") for n, (name, entry) in enumerate(expected)}
            if archive.next() is not None:
                raise UnusableArchiveError("it holds more than its manifest lists")
    except (tarfile.TarError, EOFError, UnicodeError):
        raise UnusableArchiveError("it is no backup, or was cut off") from None
    while source.read(BLOCK_BYTES):  # to its end, where a cut shows
        pass
    return manifest, parts


def _read_manifest(archive: tarfile.TarFile) -> dict[str, Any]:
    member = archive.next()
    if member is None or member.name != MANIFEST or not _is_plain(member) or member.size > MANIFEST_BYTES:
        raise UnusableArchiveError("it is no backup")
    file = cast("IO[bytes]", archive.extractfile(member))  # it is a plain file
    content: object = None
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(file.read())
    if not isinstance(content, dict):
        raise UnusableArchiveError("its manifest is none")
    return content


def _expected_parts(manifest: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    listed = manifest.get("parts")
    found: dict[str, dict[str, Any]] = {}
    for entry in listed if isinstance(listed, list) else [None]:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(name, str) or not PART_NAME.fullmatch(name) or name in found:
            raise UnusableArchiveError("its manifest is none")
        found[name] = entry
    return list(found.items())


def _extract(archive: tarfile.TarFile, entry: Mapping[str, Any], path: Path) -> Path:
    member = archive.next()
    if member is None:
        raise UnusableArchiveError(f"the part {entry['name']} is missing")
    if member.name != entry["name"] or not _is_plain(member):
        raise UnusableArchiveError("it holds something other than its manifest lists")
    digest = hashlib.sha256()
    file = cast("IO[bytes]", archive.extractfile(member))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            written.write(block)
        written.flush()
        os.fsync(written.fileno())
    if member.size != entry.get("size") or digest.hexdigest() != entry.get("sha256"):
        raise UnusableArchiveError(f"the part {entry['name']} is not as it was written")
    return path


def _is_plain(member: tarfile.TarInfo) -> bool:
    return member.type in {tarfile.REGTYPE, tarfile.AREGTYPE}


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
