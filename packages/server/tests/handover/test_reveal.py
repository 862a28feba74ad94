"""One plaintext, however many ask at once and whatever dies meanwhile; and codes. On both databases."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text

from ecross_server.app.assembly import Application
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.handover import rules, service
from ecross_server.handover.errors import HandOverSpentError
from ecross_server.handover.service import CodeGuard
from ecross_server.kit.clock import rfc3339, utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants import grants
from ecross_server.merchants import service as merchants
from ecross_server.merchants.errors import ClientRevokedError, MerchantDisabledError, TooManySecretsError
from ecross_server.merchants.rules import Peppers, new_peppers
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from ecross_server.audit.service import Actor
    from packages.server.tests.handover.conftest import Hold, Offer

SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")
HOLDERS = 50


def test_of_fifty_who_press_at_once_one_sees_the_secret(offer: Offer, hold: Hold, database: Database) -> None:
    link = offer()
    holder = hold(link)
    nonce = holder.nonce()
    barrier = Barrier(HOLDERS)

    def press(_number: int) -> Any:
        mine = hold(link)
        barrier.wait()
        return mine.press(nonce=nonce)

    with ThreadPoolExecutor(HOLDERS) as pool:
        answers = list(pool.map(press, range(HOLDERS)))
    shown = [answer for answer in answers if SECRET.search(answer.text)]
    assert len(shown) == 1
    assert sorted(answer.status_code for answer in answers) == [200] + [404] * (HOLDERS - 1)
    with database.read() as session:
        assert session.scalar(text("SELECT count(*) FROM secrets")) == 1


def test_what_is_shown_opens_and_nothing_that_is_kept_is_it(
    offer: Offer, hold: Hold, application: Application, database: Database
) -> None:
    link = offer(with_code=True)
    secret = SECRET.findall(hold(link).reveal(code=str(link.code)).text)[0]
    application.auth.refresh()
    assert application.auth.issue_access_token(link.hand_over.client_id, secret).merchant_id == "ACME"
    with database.read() as session:
        tables = session.scalars(
            text("SELECT name FROM sqlite_master WHERE type = 'table'")
            if database.is_sqlite
            else text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).all()
        kept = [str(session.execute(text(f"SELECT * FROM {table}")).all()) for table in tables]  # noqa: S608 - ours
    for hidden in (secret, link.token, str(link.code), rules.token_digest(link.token).hex()):
        assert not any(hidden in content for content in kept)


def test_the_secret_ends_when_it_was_said_and_its_link_not_later(offer: Offer, hold: Hold) -> None:
    link = offer(secret_lasts=timedelta(hours=12))
    assert link.hand_over.expires_at == link.hand_over.secret_expires_at
    holder = hold(link)
    headers = {"Accept": "application/json", "Origin": "http://testserver"}
    out = holder._client.post(holder.path, json={"nonce": holder.nonce()}, headers=headers).json()
    assert link.hand_over.secret_expires_at is not None
    assert out["expiresAt"] == rfc3339(link.hand_over.secret_expires_at)


class TestKills:
    """A process that is killed on its way, before and after the commit."""

    @staticmethod
    def press_and_die(settings: Settings, path: str, nonce: str, *, before_commit: bool) -> None:
        application = Application(settings)
        if before_commit:
            event.listen(application.database.engine, "commit", lambda _: os.kill(os.getpid(), signal.SIGKILL))

        async def dying(scope: Any, receive: Any, _send: Any) -> None:
            async def die(_message: Any) -> None:
                os.kill(os.getpid(), signal.SIGKILL)

            await application(scope, receive, die)

        from packages.server.tests.handover.conftest import Holder  # noqa: PLC0415 - in the process that dies

        holder = Holder(dying, path.rpartition("/")[2])  # type: ignore[arg-type] # an application as well
        holder.press(nonce=nonce)
        os._exit(0)  # pragma: no cover - it was killed before

    def die(self, application: Application, settings: Settings, holder: Any, *, before_commit: bool) -> str:
        nonce: str = holder.nonce()
        application.database.close()
        process = multiprocessing.get_context("fork").Process(
            target=self.press_and_die, args=(settings, holder.path, nonce), kwargs={"before_commit": before_commit}
        )
        process.start()
        process.join(20)
        assert process.exitcode == -signal.SIGKILL
        return nonce

    def test_between_commit_and_answer_the_secret_is_lost_and_never_shown(
        self, offer: Offer, hold: Hold, application: Application, settings: Settings
    ) -> None:
        holder = hold(offer())
        nonce = self.die(application, settings, holder, before_commit=False)
        for answer in (holder.press(nonce=nonce), holder.look()):
            assert (answer.status_code, "shown already" in answer.text) == (404, True)
            assert not SECRET.search(answer.text)

    def test_before_the_commit_nothing_has_happened(
        self, offer: Offer, hold: Hold, application: Application, settings: Settings
    ) -> None:
        holder = hold(offer())
        nonce = self.die(application, settings, holder, before_commit=True)
        assert SECRET.search(holder.press(nonce=nonce).text)


class TestCodes:
    def test_a_wrong_one_uses_nothing_up(self, offer: Offer, hold: Hold) -> None:
        link = offer(with_code=True)
        holder = hold(link)
        assert "required" in holder.look().text
        for wrong in ("", "  ", "aaaaa-aaaaa", "é", "x" * 60):
            answer = holder.reveal(code=wrong)
            assert (answer.status_code, "not the code" in answer.text) == (403, True)
        assert SECRET.search(holder.reveal(code=str(link.code)).text)

    def test_it_may_be_typed_as_people_do(self, offer: Offer, hold: Hold) -> None:
        for typed in (str.upper, lambda code: code.replace("-", ""), lambda code: f" {code} "):
            link = offer(with_code=True)
            assert SECRET.search(hold(link).reveal(code=typed(str(link.code))).text)

    def test_who_guesses_is_slowed_down_and_nobody_else(self, offer: Offer, hold: Hold) -> None:
        link, other = offer(with_code=True), offer(with_code=True)
        guesser = hold(link, "198.51.100.9")
        nonce = guesser.nonce()
        statuses = [guesser.press(nonce=nonce, code="aaaaa-aaaaa").status_code for _ in range(7)]
        assert statuses == [403] * 5 + [429] * 2
        answer = guesser.press(nonce=nonce, code=str(link.code))
        assert (answer.status_code, bool(SECRET.search(answer.text))) == (429, False)
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert SECRET.search(hold(link).reveal(code=str(link.code)).text)
        assert SECRET.search(hold(other, "198.51.100.9").reveal(code=str(other.code)).text)

    def test_tries_come_back_one_a_minute(self) -> None:
        now = 1000.0
        guard = CodeGuard(BudgetTable(64), lambda: now)
        assert [guard.charge("hov_a", "a") for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(60, abs=0.01)]
        now += 60
        assert guard.charge("hov_a", "a") == 0

    def test_without_its_pepper_no_code_is_right(self, offer: Offer, settings: Settings) -> None:
        link = offer(with_code=True)
        write_private_file(settings.peppers_file, new_peppers(utc_now()))
        application = Application(settings)
        peppers = application.auth.peppers
        application.database.close()
        assert not service.is_right_code(link.hand_over, str(link.code), peppers)
        assert service.is_right_code(offer().hand_over, "", peppers)


class TestService:
    def test_who_comes_too_late_is_told(
        self, offer: Offer, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        link = offer()
        with database.write() as session:
            service.reveal_secret(session, link.hand_over.id, peppers=peppers, now=utc_now(), by=operator)
        with pytest.raises(HandOverSpentError), database.write() as session:
            service.reveal_secret(session, link.hand_over.id, peppers=peppers, now=utc_now(), by=operator)

    def test_a_third_live_secret_is_refused_and_the_link_stays_open(
        self, offer: Offer, hold: Hold, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        link = offer()
        holder = hold(link)
        with database.write() as session:
            for _ in range(2):
                grants.give_secret(session, link.hand_over.client_id, peppers=peppers, now=utc_now(), by=operator)
        with pytest.raises(TooManySecretsError), database.write() as session:
            service.reveal_secret(session, link.hand_over.id, peppers=peppers, now=utc_now(), by=operator)
        assert "gives nothing at the moment" in holder.reveal().text
        assert holder.facts()["state"] == "open"

    def test_all_of_it_stands_in_the_audit_trail(self, offer: Offer, hold: Hold, database: Database) -> None:
        link = offer()
        holder = hold(link)
        holder.look("HEAD")
        holder.look()
        holder.look()
        holder.reveal()
        for _ in range(2):
            holder.press(act="deny", nonce=holder.facts().get("nonce", ""))
        with database.read() as session:
            records = list(list_records(session, RecordFilter()))
        drafts = [record.draft for record in records]
        assert [draft.action for draft in drafts] == [
            "merchants.register", "credentials.add_client", "hand-overs.create", "hand-overs.open",
            "credentials.issue", "hand-overs.reveal", "credentials.end_secret", "hand-overs.deny",
        ]  # fmt: skip
        assert {draft.actor for draft in drafts[3:]} == {f"hand-over:{link.hand_over.id}"}
        assert {draft.address for draft in drafts[3:]} == {"203.0.113.7"}
        assert link.token not in str(drafts)

    def test_of_two_who_open_or_deny_at_once_the_first_is_kept(
        self, offer: Offer, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        link_id, now = offer().hand_over.id, utc_now()
        later = now + timedelta(seconds=1)
        with database.write() as session:
            service.note_opening(session, link_id, now=now, by=operator)
            service.reveal_secret(session, link_id, peppers=peppers, now=now, by=operator)
            service.deny_reveal(session, link_id, now=now, by=operator)
        with database.write() as session:
            service.note_opening(session, link_id, now=later, by=operator)
            service.deny_reveal(session, link_id, now=later, by=operator)
        with database.read() as session:
            found = service.show_hand_over(session, link_id, now=later).hand_over
        assert (found.opened_at, found.denied_at) == (now, now)

    def test_who_may_have_no_secret_uses_no_link_up(
        self, offer: Offer, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        revoked, disabled = offer().hand_over, offer(merchant_id="BETA").hand_over
        with database.write() as session:
            merchants.revoke_client(session, revoked.client_id, by=operator)
            merchants.disable_merchant(session, "BETA", by=operator)
        for link, error in ((revoked, ClientRevokedError), (disabled, MerchantDisabledError)):
            with pytest.raises(error), database.write() as session:
                service.reveal_secret(session, link.id, peppers=peppers, now=utc_now(), by=operator)
            with database.read() as session:
                assert service.show_hand_over(session, link.id, now=utc_now()).state == "open"

    def test_ending_a_secret_twice_changes_nothing_more(
        self, offer: Offer, database: Database, peppers: Peppers, operator: Actor
    ) -> None:
        client_id = offer().hand_over.client_id
        with database.write() as session:
            issued = grants.give_secret(session, client_id, peppers=peppers, now=utc_now(), by=operator)
        epochs = []
        for _ in range(2):
            with database.write() as session:
                grants.end_secret(session, client_id, issued.secret.id, now=utc_now(), by=operator)
                epochs.append(grants.get_client(session, client_id).epoch)
        assert epochs == [2, 2]
