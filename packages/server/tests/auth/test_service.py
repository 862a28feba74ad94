from __future__ import annotations

import base64
import gc
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import timedelta
from functools import partial
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import text

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.auth.errors import InvalidAccessTokenError, InvalidClientError, RegistryStaleError
from ecross_server.auth.service import AuthService, Caller, IssuedToken
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.kit.errors import UnavailableError
from ecross_server.kit.page_tokens import InvalidPageTokenError
from ecross_server.kit.private_files import UnsafeFileError, write_private_file
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import Peppers, new_client_secret
from ecross_server.merchants.service import IssuedCredential

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

MakeService = Callable[..., AuthService]
Register = Callable[..., IssuedCredential]
Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def backend() -> str:
    """SQLite alone: what is decided here does not depend on the database."""
    return "sqlite"


def claims_of(token: str) -> dict[str, Any]:
    encoded = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=="))
    return claims


class TestIssuing:
    def test_the_token_lives_as_long_as_is_said(
        self, service: AuthService, credential: IssuedCredential, wall_clock: Any
    ) -> None:
        wall_clock.now = 1_900_000_000.75
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        claims = claims_of(issued.token)
        assert issued.expires_in == 28800
        assert claims["iat"] == claims["nbf"] == 1_900_000_000
        assert claims["exp"] - claims["iat"] == issued.expires_in

    def test_a_token_does_not_outlive_the_secret_that_opened_it(
        self, make_service: MakeService, register: Register, wall_clock: Any
    ) -> None:
        issued_at = utc_now()
        short = register("SHORT", expires_in=timedelta(minutes=10))
        service = make_service()
        service.refresh()
        ends = issued_at.timestamp() + 600
        wall_clock.now = ends - 100.5
        issued = service.issue_access_token(short.client.id, short.client_secret)
        claims = claims_of(issued.token)
        assert 99 <= issued.expires_in <= 101
        assert claims["exp"] - claims["iat"] == issued.expires_in
        assert claims["exp"] <= ends + 1

    def test_a_secret_that_ends_later_than_the_token_does_not_lengthen_it(
        self, make_service: MakeService, register: Register
    ) -> None:
        long = register("LONG", expires_in=timedelta(days=90))
        service = make_service(lifetime_seconds=3600)
        service.refresh()
        assert service.issue_access_token(long.client.id, long.client_secret).expires_in == 3600

    def test_a_secret_opens_until_its_last_second_and_not_after(
        self, make_service: MakeService, register: Register, wall_clock: Any
    ) -> None:
        short = register("SHORT", expires_in=timedelta(minutes=10))
        service = make_service()
        service.refresh()
        known = service.registry.find(short.client.id)
        assert known is not None
        ends = known.secrets[0][2]
        assert ends is not None
        wall_clock.now = float(int(ends) - 1)
        assert service.issue_access_token(short.client.id, short.client_secret).expires_in == 1
        for late in (ends, ends + 0.001, ends + 1e9):
            wall_clock.now = late
            with pytest.raises(InvalidClientError):
                service.issue_access_token(short.client.id, short.client_secret)

    def test_either_of_two_secrets_opens_a_client_and_a_third_as_well(
        self, make_service: MakeService, credential: IssuedCredential, database: Database, peppers: Peppers
    ) -> None:
        more = [new_client_secret() for _ in range(2)]
        with database.write() as session:
            for number, secret in enumerate(more):
                session.add(
                    merchants.Secret(
                        id=f"sec_{number}",
                        client_id=credential.client.id,
                        label=None,
                        digest=peppers.digest(secret),
                        pepper_id=peppers.current,
                        status="active",
                        created_at=utc_now(),
                        expires_at=None,
                    )
                )
        service = make_service()
        service.refresh()
        for secret in (credential.client_secret, *more):
            assert service.issue_access_token(credential.client.id, secret).expires_in == 28800
        with pytest.raises(InvalidClientError):
            service.issue_access_token(credential.client.id, new_client_secret())

    def test_a_secret_kept_under_an_older_pepper_still_opens(
        self, make_service: MakeService, credential: IssuedCredential, pepper_file: Any
    ) -> None:
        pepper_file.write(pepper_file.fresh(), *pepper_file.entries)
        service = make_service()
        service.refresh()
        assert service.issue_access_token(credential.client.id, credential.client_secret).expires_in == 28800

    def test_nothing_is_issued_on_stale_knowledge(
        self, service: AuthService, credential: IssuedCredential, monotonic_clock: Any
    ) -> None:
        monotonic_clock.now += 5.1
        for client_id, secret in ((credential.client.id, credential.client_secret), ("nobody", "nothing")):
            with pytest.raises(RegistryStaleError):
                service.issue_access_token(client_id, secret)

    @pytest.mark.parametrize("jump", [-3e8, 3e8])
    def test_a_jump_of_the_wall_clock_makes_nothing_stale(
        self, service: AuthService, credential: IssuedCredential, wall_clock: Any, jump: float
    ) -> None:
        wall_clock.now += jump
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        assert service.authenticate(issued.token).merchant_id == "ACME"

    def test_the_database_is_asked_nothing(
        self, service: AuthService, credential: IssuedCredential, database: Database, outage: Outage
    ) -> None:
        with outage():
            issued = service.issue_access_token(credential.client.id, credential.client_secret)
            service.authenticate(issued.token)
            with pytest.raises(InvalidClientError):
                service.issue_access_token("acme-aaaaaaaaaaaaa", credential.client_secret)
        assert database.engine.pool.status().startswith("Pool size")


Failing = dict[str, tuple[str, str]]


@pytest.fixture
def failing(register: Register, database: Database, service: AuthService) -> Failing:
    """Client id and secret for every cause to refuse them; the service knows of all."""
    acme, other = register("FIRST"), register("SECOND")
    disabled, revoked = register("DISABLED"), register("REVOKED")
    expired = register("EXPIRED", expires_in=timedelta(seconds=-1))
    expiring = register("EXPIRING", expires_in=timedelta(days=1))
    with database.write() as session:
        merchants.disable_merchant(session, "DISABLED", by=BY)
        merchants.revoke_client(session, revoked.client.id, by=BY)
        digest: bytes = session.get_one(merchants.Secret, acme.secret.id).digest
    service.refresh()
    return {
        "wrong secret": (acme.client.id, new_client_secret()),
        "wrong secret of an expiring client": (expiring.client.id, new_client_secret()),
        "unknown client": ("acme-aaaaaaaaaaaaa", acme.client_secret),
        "disabled merchant": (disabled.client.id, disabled.client_secret),
        "revoked client": (revoked.client.id, revoked.client_secret),
        "expired secret": (expired.client.id, expired.client_secret),
        "another merchant's secret": (acme.client.id, other.client_secret),
        "the digest in hex": (acme.client.id, digest.hex()),
        "the digest in base64": (acme.client.id, base64.b64encode(digest).decode()),
        "the digest raw": (acme.client.id, digest.decode("latin-1")),
    }


def steps_of(act: Callable[[], object]) -> list[str]:
    """The name of every function that the act calls, C's included, in their order."""
    names: list[str] = []

    def note(frame: FrameType, kind: str, argument: Any) -> None:
        if kind == "call":
            names.append(frame.f_code.co_qualname)
        elif kind == "c_call":
            names.append(argument.__qualname__)

    gc.disable()  # whose turn comes when it likes, and calls others
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
        gc.enable()
    return names


class TestRefusing:
    def test_every_cause_is_refused_in_the_same_words(self, service: AuthService, failing: Failing) -> None:
        for cause, (client_id, secret) in failing.items():
            with pytest.raises(InvalidClientError) as refused:
                service.issue_access_token(client_id, secret)
            assert str(refused.value) == "Incorrect username or password.", cause

    def test_every_cause_takes_the_very_same_steps(self, service: AuthService, failing: Failing) -> None:
        def refuse(client_id: str, secret: str) -> None:
            with suppress(InvalidClientError):
                service.issue_access_token(client_id, secret)

        steps = {cause: steps_of(partial(refuse, *pair)) for cause, pair in failing.items()}
        expected = steps["wrong secret"]
        assert expected.count("KeyedHash.digest") == 1
        assert expected.count("compare_digest") == 2
        for cause, taken in steps.items():
            assert taken == expected, cause

    def test_every_pepper_is_tried_for_every_cause_whichever_the_secret_is_kept_under(
        self, service: AuthService, failing: Failing, pepper_file: Any, database: Database
    ) -> None:
        before, after = pepper_file.fresh(), pepper_file.fresh()
        pepper_file.write(before, *pepper_file.entries, after)
        with database.write() as session:
            session.execute(
                text("UPDATE secrets SET pepper_id = :id WHERE client_id LIKE 'first-%'"), {"id": after["id"]}
            )
            session.execute(text("UPDATE registry_revision SET value = 1"))
        service.refresh()

        def refuse(client_id: str, secret: str) -> None:
            with suppress(InvalidClientError):
                service.check_credentials(client_id, secret)

        steps = {cause: steps_of(partial(refuse, *pair)) for cause, pair in failing.items()}
        expected = steps["unknown client"]
        assert expected.count("KeyedHash.digest") == 3
        for cause, taken in steps.items():
            assert taken == expected, cause

    def test_a_failure_carries_what_tells_equal_attempts_and_shows_it_nowhere(
        self, service: AuthService, failing: Failing, peppers: Peppers
    ) -> None:
        for client_id, secret in failing.values():
            with pytest.raises(InvalidClientError) as refused:
                service.check_credentials(client_id, secret)
            assert refused.value.evidence == peppers.digest(secret)
            shown = f"{refused.value!r} {refused.value!s} {refused.value.args}"
            assert repr(refused.value.evidence) not in shown
            assert refused.value.evidence.hex() not in shown


class TestAuthenticating:
    def test_a_good_token_tells_who_calls(self, service: AuthService, credential: IssuedCredential) -> None:
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        caller = service.authenticate(issued.token)
        assert caller == Caller(credential.client.id, "ACME", frozenset({"merchant"}))

    def test_a_token_ends_with_its_last_second(
        self, service: AuthService, credential: IssuedCredential, wall_clock: Any
    ) -> None:
        wall_clock.now = 1_900_000_000.0
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        wall_clock.now += issued.expires_in - 0.001
        service.authenticate(issued.token)
        wall_clock.now += 0.001
        with pytest.raises(InvalidAccessTokenError) as refused:
            service.authenticate(issued.token)
        assert refused.value.reason == "expired"
        assert "expired" in refused.value.message

    def test_the_same_clock_issues_and_checks(
        self, service: AuthService, credential: IssuedCredential, wall_clock: Any
    ) -> None:
        wall_clock.now = 4e9  # far beyond the machine's own time
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        assert service.authenticate(issued.token).client_id == credential.client.id

    @pytest.mark.parametrize("scope", ["merchant", "catalog:read", "orders:read catalog:read"])
    def test_the_scope_merchant_allows_all_and_others_themselves(self, scope: str) -> None:
        caller = Caller("acme-aaaaaaaaaaaaa", "ACME", frozenset(scope.split()))
        assert caller.may("catalog:read")
        assert caller.may("orders:read") == (scope != "catalog:read")

    @pytest.mark.parametrize("scope", ["", "Merchant", "merchants", "catalog", "catalog:reads", "*"])
    def test_what_only_looks_like_a_scope_allows_nothing(self, scope: str) -> None:
        assert not Caller("acme-aaaaaaaaaaaaa", "ACME", frozenset(scope.split())).may("catalog:read")

    @pytest.mark.parametrize("act", ["disable", "revoke", "disable and enable"])
    def test_every_revoking_act_ends_live_tokens(
        self, service: AuthService, credential: IssuedCredential, database: Database, act: str
    ) -> None:
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        service.authenticate(issued.token)  # remembered as good
        with database.write() as session:
            if act == "revoke":
                merchants.revoke_client(session, credential.client.id, by=BY)
            else:
                merchants.disable_merchant(session, "ACME", by=BY)
            if act == "disable and enable":
                merchants.enable_merchant(session, "ACME", by=BY)
        service.refresh()
        with pytest.raises(InvalidAccessTokenError) as refused:
            service.authenticate(issued.token)
        assert refused.value.reason == "revoked"
        if act == "disable and enable":
            again = service.issue_access_token(credential.client.id, credential.client_secret)
            assert service.authenticate(again.token).merchant_id == "ACME"

    @pytest.mark.parametrize("epoch", [0, 2, 99])
    def test_a_token_of_any_other_epoch_is_refused(
        self, service: AuthService, sign: Callable[..., str], epoch: int
    ) -> None:
        service.authenticate(sign())
        with pytest.raises(InvalidAccessTokenError):
            service.authenticate(sign(epoch=epoch))

    @pytest.mark.parametrize("act", ["disable", "revoke"])
    def test_not_even_a_token_of_the_new_epoch_opens_an_ended_client(
        self,
        *,
        service: AuthService,
        credential: IssuedCredential,
        database: Database,
        sign: Callable[..., str],
        act: str,
    ) -> None:
        with database.write() as session:
            if act == "revoke":
                merchants.revoke_client(session, credential.client.id, by=BY)
            else:
                merchants.disable_merchant(session, "ACME", by=BY)
        service.refresh()
        with pytest.raises(InvalidAccessTokenError) as refused:
            service.authenticate(sign(epoch=2))
        assert refused.value.reason == "revoked"

    def test_the_merchant_is_the_registry_s_and_not_the_token_s(
        self, service: AuthService, register: Register, sign: Callable[..., str]
    ) -> None:
        register("OTHER")
        service.refresh()
        assert service.authenticate(sign(merchant_id="OTHER")).merchant_id == "ACME"

    def test_no_token_is_judged_on_stale_knowledge(
        self, service: AuthService, sign: Callable[..., str], monotonic_clock: Any
    ) -> None:
        token = sign()
        monotonic_clock.now += 5.1
        for presented in (token, "junk", sign(exp=1, iat=0, nbf=0)):
            with pytest.raises(RegistryStaleError):
                service.authenticate(presented)


def suppressed(service: AuthService, token: str) -> None:
    with suppress(InvalidAccessTokenError):
        service.authenticate(token)


class TestRemembering:
    """A token that was found good is known again by its SHA-256."""

    def test_it_is_not_verified_again_and_gives_the_same_caller(
        self, service: AuthService, sign: Callable[..., str], wall_clock: Any
    ) -> None:
        token = sign()
        wall_clock.now += 2  # it has begun by this clock, too
        caller = service.authenticate(token)
        steps = steps_of(lambda: service.authenticate(token))
        assert "TokenVerifier.verify" not in steps
        assert service.authenticate(token) is caller

    def test_neither_a_token_nor_a_part_of_it_is_kept(self, service: AuthService, sign: Callable[..., str]) -> None:
        token = sign()
        service.authenticate(token)
        (digest,) = service._keys.content.found_good._recent
        assert digest == hashlib.sha256(token.encode()).digest()
        kept = repr(service._keys.content.found_good._recent)
        for part in token.split("."):
            assert part not in kept

    def test_a_refused_token_is_not_remembered(self, service: AuthService, sign: Callable[..., str]) -> None:
        for token in (sign(key=bytes(32)), sign(epoch=9), sign(client_id="x", sub="x"), sign(exp=1, iat=0, nbf=0), "x"):
            suppressed(service, token)
        assert len(service._keys.content.found_good) == 0

    def test_a_clock_set_back_before_its_start_makes_it_start_later(
        self, service: AuthService, sign: Callable[..., str], wall_clock: Any
    ) -> None:
        token = sign()
        service.authenticate(token)
        wall_clock.now -= 600
        with pytest.raises(InvalidAccessTokenError) as refused:
            service.authenticate(token)
        assert refused.value.reason == "not_yet_valid"

    @pytest.mark.parametrize("change", ["merchant", "epoch"])
    def test_what_the_registry_learns_counts_at_once(
        self, *, service: AuthService, sign: Callable[..., str], register: Register, database: Database, change: str
    ) -> None:
        register("OTHER")
        token = sign()
        assert service.authenticate(token).merchant_id == "ACME"
        column = {"merchant": "merchant_id = 'OTHER'", "epoch": "epoch = 2"}[change]
        with database.write() as session:
            session.execute(text("UPDATE registry_revision SET value = 99"))
            session.execute(text(f"UPDATE clients SET {column}, revision = 99 WHERE id LIKE 'acme-%'"))  # noqa: S608 - ours
        service.refresh()
        if change == "merchant":
            assert service.authenticate(token).merchant_id == "OTHER"
        else:
            with pytest.raises(InvalidAccessTokenError):
                service.authenticate(token)


class TestSigningKeys:
    def test_a_rotation_is_taken_over_and_old_tokens_live_on(
        self, service: AuthService, credential: IssuedCredential, keys: Any, log_events: list[Any]
    ) -> None:
        old_token = service.issue_access_token(credential.client.id, credential.client_secret).token
        position = service.page_tokens.make(merchant_id="ACME", list_name="skus", position="5")
        (old,), new = keys.keys, keys.fresh()
        keys.write(new, old)
        service.refresh()
        service.authenticate(old_token)
        new_token = service.issue_access_token(credential.client.id, credential.client_secret).token
        assert service.page_tokens.read(position, merchant_id="ACME", list_name="skus") == "5"
        keys.write(new)
        service.refresh()
        service.authenticate(new_token)
        with pytest.raises(InvalidAccessTokenError) as refused:
            service.authenticate(old_token)  # a token once found good is not remembered beyond its key
        assert refused.value.reason == "bad_signature"
        with pytest.raises(InvalidPageTokenError):
            service.page_tokens.read(position, merchant_id="ACME", list_name="skus")
        assert [(event["event"], event["count"]) for event in log_events] == [
            ("signing_keys_loaded", 2),
            ("signing_keys_loaded", 1),
        ]

    def test_a_token_of_a_key_not_taken_over_yet_is_good_and_a_forged_one_is_not(
        self, service: AuthService, sign: Callable[..., str], keys: Any, log_events: list[Any]
    ) -> None:
        new = keys.fresh()
        secret = base64.urlsafe_b64decode(new["k"] + "=")
        keys.write(new, *keys.keys)
        with pytest.raises(InvalidAccessTokenError) as refused:
            service.authenticate(sign(key=bytes(32)))
        assert refused.value.reason == "bad_signature"
        assert service.authenticate(sign(key=secret)).merchant_id == "ACME"
        keys.write(new)
        assert service.authenticate(sign(key=secret)).merchant_id == "ACME"
        assert [event["event"] for event in log_events] == ["signing_keys_loaded"]  # nobody had to look again

    def test_a_page_token_of_a_key_not_taken_over_yet_is_good(
        self, service: AuthService, make_service: MakeService, keys: Any
    ) -> None:
        keys.write(keys.fresh(), *keys.keys)
        position = make_service().page_tokens.make(merchant_id="ACME", list_name="skus", position="5")
        assert service.page_tokens.read(position, merchant_id="ACME", list_name="skus") == "5"

    def test_no_flood_of_forged_tokens_makes_a_bad_file_be_read_more_than_once(
        self, service: AuthService, sign: Callable[..., str], keys: Any, log_events: list[Any]
    ) -> None:
        keys.path.chmod(0o644)
        for number in range(100):
            with pytest.raises(InvalidAccessTokenError):
                service.authenticate(sign(key=bytes([number]) * 32))
        assert [event["event"] for event in log_events] == ["signing_keys_refused"]
        forged = sign(key=bytes(32))
        steps = steps_of(lambda: suppressed(service, forged))
        assert "read_private_json" not in steps

    def test_an_unchanged_file_is_not_read_again(self, service: AuthService, log_events: list[Any]) -> None:
        service.refresh()
        service.refresh()
        assert log_events == []

    @pytest.mark.parametrize("fault", ["bad", "four", "short", "loose", "gone", "a folder"])
    def test_a_file_that_turns_bad_changes_nothing_and_is_reported_once(
        self, service: AuthService, credential: IssuedCredential, keys: Any, log_events: list[Any], fault: str
    ) -> None:
        old_token = service.issue_access_token(credential.client.id, credential.client_secret).token
        good = keys.path.read_text()
        if fault == "bad":
            write_private_file(keys.path, "{")
        elif fault == "four":
            keys.write(*(keys.fresh() for _ in range(4)))
        elif fault == "short":
            keys.write(keys.fresh() | {"k": base64.urlsafe_b64encode(bytes(16)).decode().rstrip("=")})
        elif fault == "loose":
            keys.write(keys.fresh())
            keys.path.chmod(0o644)
        else:
            keys.path.unlink()
            if fault == "a folder":
                keys.path.mkdir()
        for _ in range(3):
            service.refresh()
        service.authenticate(old_token)
        service.authenticate(service.issue_access_token(credential.client.id, credential.client_secret).token)
        (event,) = log_events
        assert (event["event"], event["log_level"]) == ("signing_keys_refused", "error")
        assert str(keys.path) in event["reason"]
        for key in keys.keys:
            assert key["k"] not in str(event)

        if fault == "a folder":
            keys.path.rmdir()
        write_private_file(keys.path, good)
        service.refresh()
        assert [each["event"] for each in log_events] == ["signing_keys_refused", "signing_keys_loaded"]

    def test_closing_a_file_to_others_is_enough_for_it_to_be_taken(
        self, service: AuthService, credential: IssuedCredential, keys: Any, log_events: list[Any]
    ) -> None:
        old_token = service.issue_access_token(credential.client.id, credential.client_secret).token
        keys.write(keys.fresh())
        keys.path.chmod(0o644)
        service.refresh()
        keys.path.chmod(0o600)  # what the log line says to do: neither the content nor its time changes
        service.refresh()
        assert [event["event"] for event in log_events] == ["signing_keys_refused", "signing_keys_loaded"]
        with pytest.raises(InvalidAccessTokenError):
            service.authenticate(old_token)

    def test_a_file_that_cannot_be_read_for_a_moment_is_taken_afterwards(
        self, service: AuthService, keys: Any, log_events: list[Any]
    ) -> None:
        keys.write(keys.fresh(), *keys.keys)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))  # no file can be opened, as in a busy process
        try:
            with suppress(DatabaseAwayError):
                service.refresh()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        service.refresh()
        assert [event["event"] for event in log_events] == ["signing_keys_refused", "signing_keys_loaded"]

    def test_a_file_written_in_place_with_its_old_time_and_size_is_noticed(
        self, service: AuthService, keys: Any, log_events: list[Any]
    ) -> None:
        status = keys.path.stat()
        document = json.loads(keys.path.read_text())
        document["keys"][0]["k"] = keys.fresh()["k"]
        time.sleep(0.02)  # beyond the coarsest clock of file systems
        keys.path.write_text(json.dumps(document, indent=2) + "\n")
        os.utime(keys.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert keys.path.stat().st_size == status.st_size
        service.refresh()
        assert [event["event"] for event in log_events] == ["signing_keys_loaded"]

    def test_a_second_fault_is_reported_too_and_a_return_of_the_first(
        self, service: AuthService, keys: Any, log_events: list[Any]
    ) -> None:
        aside = keys.path.with_name("aside")
        for _ in range(2):
            keys.path.rename(aside)
            service.refresh()
            service.refresh()
            aside.rename(keys.path)
            service.refresh()
        write_private_file(keys.path, "{")
        service.refresh()
        keys.path.unlink()
        service.refresh()
        refused = [event["reason"] for event in log_events if event["event"] == "signing_keys_refused"]
        assert len(refused) == 4
        assert refused[0] == refused[1] == refused[3] != refused[2]

    @pytest.mark.parametrize("content", ['{"keys": []}', "{"])
    def test_a_bad_file_ends_the_start(self, make_service: MakeService, keys: Any, content: str) -> None:
        write_private_file(keys.path, content)
        with pytest.raises(UnsafeFileError):
            make_service()
        keys.path.unlink()
        with pytest.raises(UnavailableError):
            make_service()


class TestSecrecy:
    def test_no_repr_or_text_shows_a_secret(
        self, service: AuthService, credential: IssuedCredential, signing_key: bytes, peppers: Peppers
    ) -> None:
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        known = service.registry.find(credential.client.id)
        assert known is not None
        errors: list[BaseException] = []
        for act in (
            lambda: service.issue_access_token(credential.client.id, credential.client_secret + "x"),
            lambda: service.authenticate(issued.token + "x"),
            lambda: service.authenticate(issued.token[:-1]),
        ):
            with pytest.raises((InvalidClientError, InvalidAccessTokenError)) as refused:
                act()
            errors.append(refused.value)
        shown = " ".join(
            f"{thing!r} {thing!s}"
            for thing in (service, service.registry, service.page_tokens, issued, known, credential, *errors)
        )
        forbidden = [issued.token, credential.client_secret, known.secrets[0][0].hex(), signing_key.hex()]
        forbidden += [base64.urlsafe_b64encode(signing_key).decode()[:20]]
        forbidden += [key.hex() for key in peppers.keys.values()]
        for secret in forbidden:
            assert secret not in shown
        assert "eyJ" not in shown
        assert all(error.__cause__ is None and error.__suppress_context__ for error in errors[1:])

    def test_an_issued_token_tells_whose_it_is_and_never_the_token(
        self, service: AuthService, credential: IssuedCredential
    ) -> None:
        issued = service.issue_access_token(credential.client.id, credential.client_secret)
        claims = claims_of(issued.token)
        assert issued == IssuedToken(
            issued.token, 28800, credential.client.id, "ACME", credential.secret.id, claims["jti"], None
        )
        assert claims["sub"] == credential.client.id
        assert (
            repr(issued)
            == str(issued)
            == (
                f"IssuedToken(expires_in=28800, client_id='{credential.client.id}', merchant_id='ACME', "
                f"secret_id='{credential.secret.id}', token_id='{claims['jti']}', "
                "secret_ends_at=None)"
            )
        )

    def test_a_checked_client_shows_no_digest(self, service: AuthService, credential: IssuedCredential) -> None:
        checked = service.check_credentials(credential.client.id, credential.client_secret)
        assert checked.secret_id == credential.secret.id
        assert checked.expires_at - checked.issued_at == 28800
        assert repr(checked.client.secrets[0].digest) not in repr(checked)
        assert repr(checked.client.secrets) == f"(RegistrySecret(secret_id='{credential.secret.id}'),)"
        assert service.sign(checked).secret_id == credential.secret.id
