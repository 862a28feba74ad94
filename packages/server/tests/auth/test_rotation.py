"""The signing keys' file through rotations: which keys are live, when one retires, what is refused."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross.verifier import InvalidTokenError, TokenVerifier
from ecross_server.auth.errors import InvalidAccessTokenError, TooManyKeysError
from ecross_server.auth.service import AuthService
from ecross_server.auth.tokens import (
    LONGEST_LIFE_SECONDS,
    KeySet,
    exported_keys,
    list_signing_keys,
    new_signing_keys,
    rotate_signing_keys,
)
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.private_files import UnsafeFileError, UnwritableError, write_private_file
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEPT = timedelta(seconds=LONGEST_LIFE_SECONDS + 60)
DAY = timedelta(days=1)


@pytest.fixture
def backend() -> str:
    """SQLite alone: the database has no part in this."""
    return "sqlite"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "signing-keys.json"
    write_private_file(file, new_signing_keys(NOW - DAY))
    return file


def document(path: Path) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = json.loads(path.read_text())["keys"]
    return keys


def shown(path: Path, now: datetime = NOW) -> list[tuple[str, datetime | None]]:
    return [(key.status, key.retires_at) for key in list_signing_keys(path, now=now)]


def key_set(path: Path, now: datetime) -> KeySet:
    return KeySet.from_file(path, issuer="i", audience="a", clock=now.timestamp)


def token_of(keys: KeySet, now: datetime, life: int = LONGEST_LIFE_SECONDS) -> str:
    at = int(now.timestamp())
    return keys.sign(
        client_id="acme-a", merchant_id="ACME", scope="merchant", epoch=1, token_id="t", issued_at=at,
        expires_at=at + life,
    )  # fmt: skip


class TestRotating:
    def test_the_new_key_is_first_and_signs_at_once(self, path: Path) -> None:
        (old,) = document(path)
        key = rotate_signing_keys(path, now=NOW)
        first, second = document(path)
        assert list(first) == ["kty", "alg", "use", "kid", "k", "createdAt"]
        assert second == {**old, "retiresAt": rfc3339(NOW + KEPT)}
        assert (key.key_id, key.status, key.created_at, key.retires_at) == (first["kid"], "active", NOW, None)
        assert shown(path) == [("active", None), ("retiring", NOW + KEPT)]
        assert path.stat().st_mode & 0o777 == 0o600

    def test_an_old_key_is_kept_until_its_last_token_has_expired_whatever_the_lifetime_is_now(self, path: Path) -> None:
        old_token = token_of(key_set(path, NOW), NOW)  # lives as long as any setting allows
        rotate_signing_keys(path, now=NOW)
        late = NOW + timedelta(seconds=LONGEST_LIFE_SECONDS - 1)
        assert key_set(path, late).verifier.verify(old_token).client_id == "acme-a"
        assert len(key_set(path, NOW + KEPT - timedelta(seconds=1))) == 2
        assert len(key_set(path, NOW + KEPT)) == 1
        assert shown(path, NOW + KEPT) == [("active", None), ("retired", NOW + KEPT)]

    def test_no_setting_makes_tokens_live_longer_than_keys_are_kept(self) -> None:
        field = Settings.model_fields["token_lifetime_seconds"]
        assert {limit.le for limit in field.metadata if hasattr(limit, "le")} == {LONGEST_LIFE_SECONDS}

    def test_three_are_live_at_most_and_the_refusal_says_until_when(self, path: Path) -> None:
        rotate_signing_keys(path, now=NOW)
        rotate_signing_keys(path, now=NOW + timedelta(hours=1))
        before = path.read_bytes()
        with pytest.raises(TooManyKeysError, match=f"possible from {rfc3339(NOW + KEPT)} on") as refused:
            rotate_signing_keys(path, now=NOW + timedelta(hours=2))
        assert "--drop-old" in refused.value.message
        assert path.read_bytes() == before

        key = rotate_signing_keys(path, now=NOW + KEPT)  # the first one has retired by then, and leaves the file
        assert [entry["kid"] for entry in document(path)] == [
            key.key_id,
            *(k["kid"] for k in json.loads(before)["keys"][:2]),
        ]

    def test_a_leaked_key_is_dropped_with_all_others(self, path: Path) -> None:
        rotate_signing_keys(path, now=NOW)
        rotate_signing_keys(path, now=NOW)
        key = rotate_signing_keys(path, now=NOW, drop_old=True)
        assert [entry["kid"] for entry in document(path)] == [key.key_id]

    def test_dropping_all_needs_no_readable_file(self, path: Path) -> None:
        write_private_file(path, "{")
        with pytest.raises(UnsafeFileError):
            rotate_signing_keys(path, now=NOW)
        rotate_signing_keys(path, now=NOW, drop_old=True)
        assert shown(path) == [("active", None)]

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(UnwritableError):
            rotate_signing_keys(tmp_path / "none", now=NOW, drop_old=True)
        assert list(tmp_path.iterdir()) == []

    def test_of_many_rotations_at_once_each_succeeds_or_is_refused_and_no_key_is_lost(self, path: Path) -> None:
        (old,) = document(path)
        with multiprocessing.get_context("fork").Pool(4) as pool:
            rotated = pool.map(_try_to_rotate, [path] * 8)
        made = {key_id for key_id in rotated if key_id}
        assert len(made) == 2
        assert {key["kid"] for key in document(path)} == made | {old["kid"]}


def _try_to_rotate(path: Path) -> str | None:
    try:
        return rotate_signing_keys(path, now=NOW).key_id
    except TooManyKeysError:
        return None


class TestRollingOut:
    """A key that is only known for a while, so that the file can be brought to other machines."""

    def test_until_its_start_the_new_key_verifies_and_the_old_one_signs(self, path: Path) -> None:
        start = NOW + timedelta(minutes=10)
        old = key_set(path, NOW)
        key = rotate_signing_keys(path, now=NOW, starts_in=timedelta(minutes=10))
        assert (key.status, key.starts_at) == ("waiting", start)
        assert [entry["startsAt"] for entry in document(path)[:1]] == [rfc3339(start)]
        assert shown(path) == [("waiting", None), ("active", start + KEPT)]
        before, after = key_set(path, start - timedelta(seconds=1)), key_set(path, start)
        assert before.changes_at == start.timestamp()
        old.verifier.verify(token_of(before, NOW))
        before.verifier.verify(token_of(after, NOW))
        after.verifier.verify(token_of(before, NOW))
        assert shown(path, start) == [("active", None), ("retiring", start + KEPT)]

    def test_page_tokens_are_signed_by_what_the_others_know(self, path: Path) -> None:
        old = key_set(path, NOW)
        rotate_signing_keys(path, now=NOW, starts_in=timedelta(minutes=10))
        made = {"merchant_id": "ACME", "list_name": "skus"}
        waiting, started = key_set(path, NOW), key_set(path, NOW + timedelta(minutes=10))
        assert old.page_tokens.read(waiting.page_tokens.make(position="5", **made), **made) == "5"
        for reader in (waiting, started):
            for maker in (old, waiting, started):
                assert reader.page_tokens.read(maker.page_tokens.make(position="5", **made), **made) == "5"

    def test_a_running_process_signs_with_it_from_its_start_on_and_refuses_retired_keys(
        self, service: AuthService, credential: IssuedCredential, settings: Settings, wall_clock: Any
    ) -> None:
        def issue() -> str:
            return service.issue_access_token(credential.client.id, credential.client_secret).token

        file, now = settings.signing_keys_file, datetime.fromtimestamp(int(wall_clock.now), UTC)
        old = KeySet.from_file(file, issuer=settings.issuer, audience=settings.audience)
        rotate_signing_keys(file, now=now, starts_in=timedelta(minutes=10))
        service.refresh()
        old.verifier.verify(issue())
        wall_clock.now += 600
        service.refresh()
        with pytest.raises(InvalidTokenError, match="none of the known keys"):
            old.verifier.verify(issue())

        (waiting, replaced), at = document(file), int((now + timedelta(minutes=10) + KEPT).timestamp())
        wall_clock.now = at - 10
        forged = old.sign(  # whoever has got hold of the old key
            client_id=credential.client.id, merchant_id="ACME", scope="merchant", epoch=1, token_id="t",
            issued_at=at - 10, expires_at=at + 1000,
        )  # fmt: skip
        service.refresh()
        assert service.authenticate(forged).merchant_id == "ACME"
        wall_clock.now = at
        file.unlink()  # to be without the file does not keep a key alive
        service.refresh()
        with pytest.raises(InvalidAccessTokenError) as refused:
            service.authenticate(forged)
        assert refused.value.reason == "bad_signature"
        wall_clock.now = at - 10  # the clock was wrong
        service.refresh()
        assert service.authenticate(forged).merchant_id == "ACME"
        assert waiting["kid"] != replaced["kid"]


class TestHandWritten:
    """Files that people have edited: a JWK Set, `createdAt` beside each key or nothing at all."""

    def keys(self, count: int, *without: str) -> list[dict[str, Any]]:
        made = [json.loads(new_signing_keys(NOW))["keys"][0] for _ in range(count)]
        return [{name: value for name, value in key.items() if name not in without} for key in made]

    def write(self, path: Path, *keys: dict[str, Any]) -> None:
        write_private_file(path, json.dumps({"keys": keys}))

    def test_all_verify_for_as_long_as_they_stand_there(self, path: Path) -> None:
        self.write(path, *self.keys(3, "kid", "createdAt", "alg", "use"))
        assert len(key_set(path, NOW + 1000 * DAY)) == 3
        (first, *older) = list_signing_keys(path, now=NOW)
        assert (first.status, first.key_id, first.created_at) == ("active", None, None)
        assert [(key.status, key.retires_at) for key in older] == [("retiring", None)] * 2

    def test_a_rotation_gives_those_without_an_end_one(self, path: Path) -> None:
        self.write(path, *self.keys(2))
        rotate_signing_keys(path, now=NOW)
        assert shown(path) == [("active", None), ("retiring", NOW + KEPT), ("retiring", NOW + KEPT)]

    def test_three_without_an_end_leave_no_room_and_that_is_said(self, path: Path) -> None:
        self.write(path, *self.keys(3))
        with pytest.raises(TooManyKeysError, match="None of the older ones says when it ends"):
            rotate_signing_keys(path, now=NOW)

    def test_an_end_beside_the_first_key_is_not_heeded(self, path: Path) -> None:
        (key,) = self.keys(1)
        self.write(path, {**key, "retiresAt": rfc3339(NOW - DAY)})
        assert shown(path) == [("active", None)]
        assert len(key_set(path, NOW)) == 1
        rotate_signing_keys(path, now=NOW)
        assert shown(path)[1] == ("retiring", NOW + KEPT)

    @pytest.mark.parametrize("name", ["startsAt", "retiresAt"])
    def test_a_time_that_is_none_is_refused_by_name(self, path: Path, name: str) -> None:
        first, second = self.keys(2)
        self.write(path, first, {**second, name: "hunter2"})
        with pytest.raises(UnsafeFileError, match=f"{name} must be an ISO 8601 date and time") as refused:
            key_set(path, NOW)
        assert "hunter2" not in refused.value.message

    @pytest.mark.parametrize("created", ["yesterday", 7, None, "2026-01-02"])
    def test_a_created_at_of_any_form_harms_nothing(self, path: Path, created: object) -> None:
        (key,) = self.keys(1)
        self.write(path, {**key, "createdAt": created, "kid": 7})
        assert len(key_set(path, NOW)) == 1
        (listed,) = list_signing_keys(path, now=NOW)
        assert (listed.created_at, listed.key_id) == (None, "7")

    def test_four_are_refused_also_if_one_has_retired(self, path: Path) -> None:
        keys = self.keys(4)
        self.write(path, *keys[:3], {**keys[3], "retiresAt": rfc3339(NOW - DAY)})
        with pytest.raises(UnsafeFileError, match="1 to 3 keys"):
            key_set(path, NOW)


class TestExporting:
    def test_a_verifier_accepts_tokens_of_every_live_key(self, path: Path) -> None:
        tokens = [token_of(KeySet.from_file(path, issuer="i", audience="a"), datetime.now(UTC))]
        rotate_signing_keys(path, now=datetime.now(UTC))
        tokens.append(token_of(KeySet.from_file(path, issuer="i", audience="a"), datetime.now(UTC)))
        exported = json.loads(exported_keys(path, now=datetime.now(UTC)))
        assert [list(key) for key in exported["keys"]] == [["kty", "alg", "use", "kid", "k"]] * 2
        verifier = TokenVerifier(keys=exported, issuer="i", audience="a")
        for token in tokens:
            assert verifier.verify(token).client_id == "acme-a"

    def test_a_retired_key_is_left_out_and_a_waiting_one_is_not(self, path: Path) -> None:
        old, waiting = document(path)[0]["kid"], rotate_signing_keys(path, now=NOW, starts_in=DAY).key_id

        def exported(now: datetime) -> list[str]:
            return [key["kid"] for key in json.loads(exported_keys(path, now=now))["keys"]]

        assert exported(NOW) == [waiting, old]
        assert exported(NOW + DAY + KEPT) == [waiting]

    def test_a_key_without_an_id_is_exported_without_one(self, path: Path) -> None:
        key = {name: value for name, value in document(path)[0].items() if name != "kid"}
        write_private_file(path, json.dumps({"keys": [key]}))
        assert [list(key) for key in json.loads(exported_keys(path, now=NOW))["keys"]] == [["kty", "alg", "use", "k"]]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=12))
def test_through_any_rotations_every_token_stays_good_until_it_expires(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    write_private_file(path, new_signing_keys(NOW))
    now, tokens = NOW, []
    for hours, delay in steps:
        now += timedelta(hours=hours)
        tokens.append((token_of(key_set(path, now), now), now + timedelta(seconds=LONGEST_LIFE_SECONDS)))
        try:
            rotate_signing_keys(path, now=now, starts_in=timedelta(hours=delay))
        except TooManyKeysError:
            assert len(key_set(path, now)) == 3
        keys = key_set(path, now)
        assert len(document(path)) <= 3
        for token, ends in tokens:
            if now < ends:
                assert keys.verifier.verify(token).client_id == "acme-a"
