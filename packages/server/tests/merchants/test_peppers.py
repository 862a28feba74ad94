"""What an operator does with peppers: list, rotate, retire."""

from __future__ import annotations

import json
import math
import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import UnsafeFileError, write_private_file
from ecross_server.merchants import repository, service
from ecross_server.merchants.errors import PepperInUseError, PepperNotFoundError
from ecross_server.merchants.models import Client, Secret
from ecross_server.merchants.rules import Peppers, new_peppers
from ecross_server.merchants.service import IssuedCredential, PepperUse
from ecross_server.settings import Settings

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

Register = Callable[..., IssuedCredential]


@pytest.fixture
def path(settings: Settings) -> Path:
    return settings.peppers_file


def entries(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["peppers"]
    return found


def listed(database: Database, path: Path, now: datetime = NOW) -> list[PepperUse]:
    with database.read() as session:
        return service.list_peppers(session, path, now=now)


def statuses(database: Database) -> dict[str, str]:
    with database.read() as session:
        return {secret.id: secret.status for secret in session.scalars(select(Secret))}


class TestRotating:
    def test_the_new_pepper_is_current_and_the_old_one_stays(self, path: Path) -> None:
        (old,) = entries(path)
        made = service.rotate_peppers(path, now=NOW)
        first, second = entries(path)
        assert (second, first["id"], first["createdAt"]) == (old, made.pepper_id, rfc3339(NOW))
        assert list(first) == ["id", "value", "createdAt"]
        assert (made.status, made.created_at, made.secrets) == ("active", NOW, 0)
        assert service.load_peppers(path).current == made.pepper_id
        assert path.stat().st_mode & 0o777 == 0o600

    def test_until_its_start_the_old_one_is_current(self, database: Database, path: Path) -> None:
        start = NOW + timedelta(minutes=10)
        made = service.rotate_peppers(path, now=NOW, starts_in=timedelta(minutes=10))
        assert (made.status, made.starts_at) == ("waiting", start)
        assert [pepper.status for pepper in listed(database, path)] == ["waiting", "active"]
        assert [pepper.status for pepper in listed(database, path, start)] == ["active", "older"]
        document = json.loads(path.read_text())
        waiting, started = (Peppers.from_document(document, at.timestamp()) for at in (NOW, start))
        assert (waiting.changes_at, started.changes_at) == (start.timestamp(), math.inf)
        assert (len(waiting), started.current) == (2, made.pepper_id)

    def test_many_at_once_lose_none(self, path: Path) -> None:
        (old,) = entries(path)
        with multiprocessing.get_context("fork").Pool(4) as pool:
            made = pool.map(_rotate, [path] * 8)
        assert {entry["id"] for entry in entries(path)} == {*made, old["id"]}
        assert len(entries(path)) == 9

    @pytest.mark.parametrize("content", ["{", '{"peppers": []}', '{"peppers": [{"id": "a", "value": "c2hvcnQ="}]}'])
    def test_a_file_that_cannot_be_used_stays_as_it_is(self, path: Path, content: str) -> None:
        write_private_file(path, content)
        with pytest.raises(UnsafeFileError):
            service.rotate_peppers(path, now=NOW)
        assert path.read_text() == content

    def test_what_else_stands_in_the_file_stays(self, path: Path) -> None:
        write_private_file(path, json.dumps({"note": "ours", "peppers": [{**entries(path)[0], "note": "too"}]}))
        service.rotate_peppers(path, now=NOW)
        assert json.loads(path.read_text())["note"] == "ours"
        assert entries(path)[1]["note"] == "too"


def _rotate(path: Path) -> str:
    return service.rotate_peppers(path, now=NOW).pepper_id


class TestListing:
    def test_live_secrets_are_counted_under_their_pepper(
        self, database: Database, path: Path, register: Register
    ) -> None:
        register("ACME")
        register("LATER", expires_in=timedelta(days=36_000))
        register("OVER", expires_in=timedelta(milliseconds=1))
        gone = register("GONE").client.id
        with database.write() as session:
            service.revoke_client(session, gone, by=BY)
        service.rotate_peppers(path, now=NOW)
        now = datetime.now(UTC) + timedelta(seconds=1)
        assert [(pepper.status, pepper.secrets) for pepper in listed(database, path, now)] == [
            ("active", 0), ("older", 2),
        ]  # fmt: skip

    def test_a_pepper_that_the_file_has_lost_is_listed_as_missing(
        self, database: Database, path: Path, credential: IssuedCredential
    ) -> None:
        write_private_file(path, new_peppers(NOW))
        first, lost = listed(database, path)
        assert (first.status, first.secrets) == ("active", 0)
        assert lost == PepperUse(credential.secret.pepper_id, "missing", None, 1, None)

    @pytest.mark.usefixtures("credential")
    def test_no_pepper_is_shown(self, database: Database, path: Path) -> None:
        shown = repr(listed(database, path)) + repr(service.load_peppers(path))
        assert entries(path)[0]["value"] not in shown


class TestRetiring:
    def test_one_that_live_secrets_need_is_refused_with_their_number(
        self, database: Database, path: Path, register: Register
    ) -> None:
        old = register("ACME").secret.pepper_id
        service.rotate_peppers(path, now=NOW)
        before = path.read_bytes()
        with pytest.raises(PepperInUseError, match=r"^1 live secret is still kept under this pepper"):
            service.retire_pepper(database, path, old, now=NOW, by=BY)
        register("BETA")
        with pytest.raises(PepperInUseError, match=r"^2 live secrets are still kept"):
            service.retire_pepper(database, path, old, now=NOW, by=BY)
        assert path.read_bytes() == before
        assert set(statuses(database).values()) == {"active"}

    def test_one_that_nothing_needs_is_gone_for_good(self, database: Database, path: Path) -> None:
        (old,) = entries(path)
        made = service.rotate_peppers(path, now=NOW)
        retired = service.retire_pepper(database, path, old["id"], now=NOW, by=BY)
        assert (retired.pepper_id, retired.status, retired.secrets) == (old["id"], "retired", 0)
        assert [entry["id"] for entry in entries(path)] == [made.pepper_id]
        with pytest.raises(PepperNotFoundError):
            service.retire_pepper(database, path, old["id"], now=NOW, by=BY)

    def test_what_has_run_out_under_it_ends_so_that_nothing_names_the_pepper_any_more(
        self, database: Database, path: Path, register: Register
    ) -> None:
        over = register("OVER", expires_in=timedelta(milliseconds=1))
        service.rotate_peppers(path, now=NOW)
        with database.read() as session:
            revision, _ = service.read_registry_changes(session, 0)
        now = datetime.now(UTC) + timedelta(seconds=1)
        service.retire_pepper(database, path, over.secret.pepper_id, now=now, by=BY)
        assert statuses(database) == {over.secret.id: "expired"}
        with database.read() as session:
            _, changed = service.read_registry_changes(session, revision)
        assert [(client.client_id, client.secrets) for client in changed] == [(over.client.id, ())]

    def test_by_force_the_secrets_under_it_are_revoked_and_no_others(
        self, database: Database, path: Path, register: Register, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(repository, "BATCH", 2)
        lost = [register(f"LOST_{number}") for number in range(5)]
        service.rotate_peppers(path, now=NOW)
        with database.write() as session:
            service.register_merchant(session, "KEPT", "Kept", now=NOW, by=BY)
            kept = service.issue_credential(session, "KEPT", peppers=service.load_peppers(path), now=NOW, by=BY)
        retired = service.retire_pepper(database, path, lost[0].secret.pepper_id, now=NOW, force=True, by=BY)
        assert (retired.status, retired.secrets) == ("retired", 5)
        assert statuses(database) == {
            **{issued.secret.id: "revoked" for issued in lost}, kept.secret.id: "active",
        }  # fmt: skip
        with database.read() as session:
            revisions = {client.id: client.revision for client in session.scalars(select(Client))}
        assert len({revisions[issued.client.id] for issued in lost}) == 1
        assert revisions[kept.client.id] < revisions[lost[0].client.id]

    def test_the_current_one_is_never_retired(self, database: Database, path: Path) -> None:
        (old,) = entries(path)
        for force in (False, True):
            with pytest.raises(PepperInUseError, match="ecross-server peppers rotate"):
                service.retire_pepper(database, path, old["id"], now=NOW, force=force, by=BY)

    def test_one_that_has_not_started_can_be_called_off(self, database: Database, path: Path) -> None:
        before = entries(path)
        made = service.rotate_peppers(path, now=NOW, starts_in=timedelta(hours=1))
        service.retire_pepper(database, path, made.pepper_id, now=NOW, by=BY)
        assert entries(path) == before

    def test_one_that_the_file_has_lost_is_given_up_by_force_alone(
        self, database: Database, path: Path, credential: IssuedCredential
    ) -> None:
        write_private_file(path, new_peppers(NOW))
        before = path.read_bytes()
        with pytest.raises(PepperInUseError):
            service.retire_pepper(database, path, credential.secret.pepper_id, now=NOW, by=BY)
        retired = service.retire_pepper(database, path, credential.secret.pepper_id, now=NOW, force=True, by=BY)
        assert (retired.pepper_id, retired.status, retired.secrets) == (credential.secret.pepper_id, "retired", 1)
        assert path.read_bytes() == before
        assert len(listed(database, path)) == 1

    def test_an_unknown_one_is_not_found_and_not_repeated(self, database: Database, path: Path) -> None:
        value = entries(path)[0]["value"]
        with pytest.raises(PepperNotFoundError) as caught:
            service.retire_pepper(database, path, value, now=NOW, by=BY)
        assert value not in caught.value.message


def test_only_what_is_as_it_was_read_comes_under_another_pepper(
    database: Database, register: Register, peppers: Peppers
) -> None:
    same, changed, ended = register("SAME"), register("CHANGED"), register("ENDED")
    with database.write() as session:
        session.execute(update(Secret).where(Secret.id == changed.secret.id).values(digest=b"x" * 32))
        service.revoke_client(session, ended.client.id, by=BY)
    with database.write() as session:
        service.change_peppers(
            session,
            [
                service.PepperChange(
                    issued.secret.id,
                    service.Digest(peppers.digest(issued.client_secret), peppers.current),
                    service.Digest(bytes([number]) * 32, "new"),
                )
                for number, issued in enumerate((same, changed, ended))
            ],
        )
    with database.read() as session:
        assert {secret.id: secret.pepper_id for secret in session.scalars(select(Secret))} == {
            same.secret.id: "new", changed.secret.id: peppers.current, ended.secret.id: peppers.current,
        }  # fmt: skip
