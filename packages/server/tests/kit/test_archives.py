from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecross_server.kit.archives import UnusableArchiveError, read_archive, write_archive
from ecross_server.kit.errors import ConflictError

CONTENT = {"keys.json": b'{"keys": []}', "tables/skus.copy": b"1\tone\n" * 100_000, "empty": b""}


@pytest.fixture
def written(tmp_path: Path) -> bytes:
    """An archive as it should be."""
    parts = {}
    for number, (name, content) in enumerate(CONTENT.items()):
        parts[name] = tmp_path / f"in-{number}"
        parts[name].write_bytes(content)
    out = io.BytesIO()
    write_archive(out, {"format": 1, "version": "0.1.0"}, parts)
    return out.getvalue()


@pytest.fixture
def read(tmp_path: Path) -> Callable[[bytes], tuple[dict[str, Any], dict[str, Path]]]:
    """Reads an archive into an empty folder."""
    folder = tmp_path / "out"
    folder.mkdir()
    return lambda archive: read_archive(io.BytesIO(archive), folder)


Read = Callable[[bytes], tuple[dict[str, Any], dict[str, Path]]]


def entry(name: str, content: bytes) -> dict[str, Any]:
    return {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def member(name: str, size: int = 0, **attributes: Any) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.size = size
    for attribute, value in attributes.items():
        setattr(made, attribute, value)
    return made


def forge(manifest: object, *members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    text = manifest if isinstance(manifest, bytes) else json.dumps(manifest).encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for made, content in [(member("manifest.json", len(text)), text), *members]:
            archive.addfile(made, io.BytesIO(content))
    return out.getvalue()


def test_what_was_written_is_read(written: bytes, read: Read, tmp_path: Path) -> None:
    manifest, parts = read(written)
    assert (manifest["format"], manifest["version"]) == (1, "0.1.0")
    assert manifest["parts"] == [entry(name, content) for name, content in CONTENT.items()]
    assert {name: path.read_bytes() for name, path in parts.items()} == CONTENT
    for path in parts.values():
        assert path.parent == tmp_path / "out"
        assert path.stat().st_mode & 0o777 == 0o600


def test_an_ordinary_tar_reads_it_with_private_modes(written: bytes) -> None:
    with tarfile.open(fileobj=io.BytesIO(written)) as archive:
        members = archive.getmembers()
    assert [each.name for each in members] == ["manifest.json", *CONTENT]
    assert {each.mode for each in members} == {0o600}


def test_a_cut_end_is_noticed(written: bytes, tmp_path: Path) -> None:
    last_header = written.rindex(b"empty")
    for keep in [*range(0, 5000, 512), 100_000, last_header, last_header + 100]:
        folder = tmp_path / str(keep)
        folder.mkdir()
        with pytest.raises(UnusableArchiveError):
            read_archive(io.BytesIO(written[:keep]), folder)


def test_a_changed_byte_of_a_part_is_noticed(written: bytes, read: Read) -> None:
    at = written.index(b"1\tone") + 5000
    with pytest.raises(UnusableArchiveError, match=r"tables/skus\.copy is not as it was written") as caught:
        read(written[:at] + b"2" + written[at + 1 :])
    assert isinstance(caught.value, ConflictError)


@pytest.mark.parametrize("junk", [b"", b"junk", b"junk" * 1000, b"\0" * 4096, bytes(range(256)) * 16])
def test_junk_is_no_archive(read: Read, junk: bytes) -> None:
    with pytest.raises(UnusableArchiveError):
        read(junk)


@pytest.mark.parametrize(
    "name", ["../evil", "/etc/passwd", "a/../../b", "a/b/c", "", "manifest.json\n", "A", ".hidden", "a" * 100, 7, None]
)
def test_a_part_of_another_name_than_ours_is_refused(read: Read, tmp_path: Path, name: Any) -> None:
    content = b"evil"
    archive = forge({"parts": [entry(name, content)]}, (member(str(name), len(content)), content))
    with pytest.raises(UnusableArchiveError, match="manifest is none"):
        read(archive)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "manifest.json"},
        {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.DIRTYPE},
        {"type": tarfile.CONTTYPE},
    ],
    ids=["symbolic link", "hard link", "device", "block device", "fifo", "folder", "contiguous"],
)
def test_a_member_that_is_no_plain_file_is_refused(read: Read, tmp_path: Path, attributes: dict[str, Any]) -> None:
    with pytest.raises(UnusableArchiveError, match="something other"):
        read(forge({"parts": [entry("keys.json", b"")]}, (member("keys.json", **attributes), b"")))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_manifest_that_is_no_plain_file_is_refused(read: Read) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(member("manifest.json", type=tarfile.SYMTYPE, linkname="/etc/hostname"))
    with pytest.raises(UnusableArchiveError, match="no backup"):
        read(out.getvalue())


def test_an_endless_manifest_is_not_read(read: Read) -> None:
    with pytest.raises(UnusableArchiveError, match="no backup"):
        read(forge(b"[" * (1024 * 1024 + 1)))


@pytest.mark.parametrize(
    "manifest",
    [b"{", b"\xff", b"[" * 100_000, [], 1, {}, {"parts": {}}, {"parts": [1]}, {"parts": [{}]},
     {"parts": [entry("a", b""), entry("a", b"")]}],
)  # fmt: skip
def test_a_manifest_of_another_form_is_refused(read: Read, manifest: Any) -> None:
    with pytest.raises(UnusableArchiveError, match="manifest is none"):
        read(forge(manifest))


def test_missing_added_and_renamed_parts_are_noticed(read: Read) -> None:
    good = (member("a", 1), b"x")
    with pytest.raises(UnusableArchiveError, match="part a is missing"):
        read(forge({"parts": [entry("a", b"x")]}))
    with pytest.raises(UnusableArchiveError, match="something other"):
        read(forge({"parts": [entry("b", b"x")]}, good))
    with pytest.raises(UnusableArchiveError, match="more than its manifest lists"):
        read(forge({"parts": [entry("a", b"x")]}, good, (member("b", 1), b"x")))


@pytest.mark.parametrize("wrong", [{"size": 2}, {"sha256": "0" * 64}, {"size": None}, {"sha256": None}])
def test_a_size_or_hash_that_differs_is_noticed(read: Read, wrong: dict[str, Any]) -> None:
    with pytest.raises(UnusableArchiveError, match="part a is not as it was written"):
        read(forge({"parts": [entry("a", b"x") | wrong]}, (member("a", 1), b"x")))
