"""`ecross-server keys`."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from ecross.verifier import TokenVerifier
from ecross_server.kit.clock import parse_instant, utc_now
from ecross_server.settings import Settings

Cli = Callable[..., Any]

ROW = ["keyId", "algorithm", "status", "createdAt", "retiresAt"]

pytestmark = pytest.mark.usefixtures("on_sqlite")


def document(settings: Settings) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = json.loads(settings.signing_keys_file.read_text())["keys"]
    return keys


class TestListAndRotate:
    def test_programs_get_the_keys_without_the_keys_themselves(self, cli: Cli, on_sqlite: Settings) -> None:
        old = cli("keys", "list", "--json").result["keys"][0]
        assert list(old) == ROW
        assert (old["algorithm"], old["status"], old["retiresAt"]) == ("HS256", "active", None)
        made = cli("keys", "rotate", "--json").result
        assert list(made) == ROW
        listed = cli("keys", "list", "--json").result["keys"]
        assert listed == [made, {**old, "status": "retiring", "retiresAt": listed[1]["retiresAt"]}]
        assert parse_instant(listed[1]["retiresAt"]) > utc_now() + timedelta(days=1)
        assert [key["kid"] for key in document(on_sqlite)] == [made["keyId"], old["keyId"]]

    def test_people_see_what_happened_and_no_key(self, cli: Cli, on_sqlite: Settings) -> None:
        ended = cli("keys", "rotate")
        new, _ = document(on_sqlite)
        assert ended.out.startswith(
            f"The key {new['kid']} signs now.\nTokens of the older keys stay good until they expire.\n"
        )
        assert f"On another machine, {on_sqlite.signing_keys_file} has to be brought there." in ended.out
        header, first, second = cli("keys", "list").out.splitlines()
        assert header.split() == ["KEY", "ALGORITHM", "STATUS", "CREATED", "SIGNS", "FROM", "RETIRES"]
        assert first.split()[:3] == [new["kid"], "HS256", "active"]
        assert second.split()[2] == "retiring"
        for key in document(on_sqlite):
            assert key["k"] not in ended.out + first + second

    def test_a_fourth_live_key_is_refused(self, cli: Cli) -> None:
        cli("keys", "rotate")
        cli("keys", "rotate")
        ended = cli("keys", "rotate", "--json")
        assert (ended.code, ended.error["code"]) == (4, "too_many_keys")
        assert "It will be possible from " in ended.error["message"]

    def test_after_a_leak_only_the_new_key_is_left(self, cli: Cli, on_sqlite: Settings) -> None:
        ended = cli("keys", "rotate", "--drop-old")
        assert "every token fails within 2 seconds" in ended.out
        assert len(document(on_sqlite)) == 1

    def test_a_key_may_have_to_wait(self, cli: Cli) -> None:
        made = cli("keys", "rotate", "--after", "10m", "--json").result
        assert made["status"] == "waiting"
        assert [key["status"] for key in cli("keys", "list", "--json").result["keys"]] == ["waiting", "active"]
        assert " signs from 2" in cli("keys", "rotate", "--after", "1h").out

    @pytest.mark.parametrize(
        "arguments", [("--after", "8d"), ("--after", "soon"), ("--after", "10m", "--drop-old"), ("--after", "1d1h")]
    )
    def test_a_delay_that_makes_no_sense_is_refused_and_nothing_changes(
        self, cli: Cli, on_sqlite: Settings, arguments: tuple[str, ...]
    ) -> None:
        ended = cli("keys", "rotate", *arguments, "--json")
        assert ended.code == 2
        assert ended.error["errors"][0]["path"] == "after"
        assert len(document(on_sqlite)) == 1

    def test_a_missing_file_is_told(self, cli: Cli, on_sqlite: Settings) -> None:
        on_sqlite.signing_keys_file.unlink()
        for command in ("list", "rotate"):
            ended = cli("keys", command, "--json")
            assert (ended.code, str(on_sqlite.signing_keys_file) in ended.error["message"]) == (5, True)


class TestExport:
    def test_a_verifier_can_be_made_of_the_file(self, cli: Cli, tmp_path: Path) -> None:
        cli("keys", "rotate")
        out = tmp_path / "verifier.json"
        listed = cli("keys", "export", "--out", str(out), "--json").result
        assert listed == cli("keys", "list", "--json").result
        assert out.stat().st_mode & 0o777 == 0o600
        keys = json.loads(out.read_text())["keys"]
        assert [list(key) for key in keys] == [["kty", "alg", "use", "kid", "k"]] * 2
        TokenVerifier(keys=out, issuer="urn:ecross:auth", audience="urn:ecross:api")
        for key in keys:
            assert key["k"] not in str(listed)

    @pytest.mark.parametrize("count", [1, 2])
    def test_people_are_told_to_keep_it_secret_and_to_export_again(self, cli: Cli, tmp_path: Path, count: int) -> None:
        for _ in range(count - 1):
            cli("keys", "rotate")
        out = tmp_path / "verifier.json"
        lines = cli("keys", "export", "--out", str(out)).out.splitlines()
        assert lines[0] == f"Wrote {count} key{'s' * (count > 1)} to {out}."
        assert "Keep it secret" in lines[1]
        assert "Export again after each rotation" in lines[2]

    def test_nothing_is_overwritten_unless_by_force(self, cli: Cli, tmp_path: Path) -> None:
        out = tmp_path / "mine.txt"
        out.write_text("mine")
        out.chmod(0o644)
        ended = cli("keys", "export", "--out", str(out), "--json")
        assert (ended.code, ended.error["code"], out.read_text()) == (4, "file_exists", "mine")
        assert cli("keys", "export", "--out", str(out), "--force").code == 0
        assert len(json.loads(out.read_text())["keys"]) == 1
        assert out.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("force", [(), ("--force",)])
    @pytest.mark.parametrize("is_dangling", [False, True])
    def test_a_link_is_never_followed_nor_replaced(
        self, *, cli: Cli, tmp_path: Path, force: tuple[str, ...], is_dangling: bool
    ) -> None:
        target, link = tmp_path / "target", tmp_path / "link"
        if not is_dangling:
            target.write_text("mine")
        link.symlink_to(target)
        ended = cli("keys", "export", "--out", str(link), *force, "--json")
        assert (ended.code, ended.error["code"], link.is_symlink()) == (4, "file_exists", True)
        assert not target.exists() if is_dangling else target.read_text() == "mine"

    def test_the_signing_keys_file_itself_is_not_overwritten_by_force(self, cli: Cli, on_sqlite: Settings) -> None:
        before = on_sqlite.signing_keys_file.read_bytes()
        ended = cli("keys", "export", "--out", str(on_sqlite.signing_keys_file), "--force", "--json")
        assert (ended.code, on_sqlite.signing_keys_file.read_bytes()) == (4, before)

    def test_a_folder_that_is_not_there_is_told(self, cli: Cli, tmp_path: Path) -> None:
        ended = cli("keys", "export", "--out", str(tmp_path / "none" / "keys.json"), "--json")
        assert (ended.code, ended.error["code"]) == (5, "unwritable")


class TestRecords:
    def test_rotating_and_exporting_are_in_the_audit_trail(self, cli: Cli, tmp_path: Path) -> None:
        made = cli("keys", "rotate", "--json").result
        cli("keys", "export", "--out", str(tmp_path / "keys.json"))
        cli("peppers", "rotate")
        records = cli("audit", "list", "--json").result["records"]
        assert [(record["action"], record["outcome"]) for record in records] == [
            (action, outcome)
            for action in ("keys.rotate", "keys.export", "peppers.rotate")
            for outcome in ("begun", "done")
        ]
        assert records[0]["details"] == {"droppedOld": False, "keyId": made["keyId"]}
        assert all(record["actor"].startswith("operator:") for record in records)
        assert cli("audit", "verify", "--json").result["ok"] is True

    def test_without_the_database_nothing_is_rotated_unless_a_key_has_leaked(
        self, cli: Cli, on_sqlite: Settings
    ) -> None:
        (old,) = document(on_sqlite)
        database = on_sqlite.data_dir / "ecross.db"
        database.rename(database.with_name("gone"))
        assert cli("keys", "rotate").code == 5
        assert document(on_sqlite) == [old]
        ended = cli("keys", "rotate", "--drop-old")
        assert ended.code == 0
        assert "The audit trail does not have this" in ended.err
        (new,) = document(on_sqlite)
        assert new["kid"] != old["kid"]
