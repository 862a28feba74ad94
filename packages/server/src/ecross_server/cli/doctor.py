"""`ecross-server doctor`: is everything in order, and where does each setting come from?"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import typer
from pydantic import SecretStr
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from ecross_server import migrations
from ecross_server.app.checks import check_jobs, check_limits
from ecross_server.cli.output import AsJson, print_json, print_table, say
from ecross_server.cli.setup import check_keys, check_tls, opened_database
from ecross_server.kit.checks import Check
from ecross_server.kit.errors import DomainError, UnavailableError
from ecross_server.kit.private_files import OTHERS
from ecross_server.merchants.service import load_peppers
from ecross_server.settings import Configuration, Settings, load_settings, variable

CHECK_FAILED: Final = 6
REDIS_SECONDS: Final = 2
HIDDEN: Final = "(hidden)"


class FailedCheckError(UnavailableError):
    """Something is not in order; `fix` says what to do about it."""

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.fix = fix


def doctor(*, as_json: AsJson = False) -> None:
    """Check the installation, and show every setting with its source."""
    configuration = load_settings()
    settings = configuration.settings
    make_files = "if it is missing: ecross-server serve"
    checks = [
        _check("data folder", lambda: _check_folder(settings.data_dir), "ecross-server serve"),
        _check("signing keys", lambda: f"{len(check_keys(settings))} live", make_files),
        _check("peppers", lambda: f"{len(load_peppers(settings.peppers_file).keys)} live", make_files),
        _check("database", lambda: _check_database(configuration), "ecross-server migrate"),
    ]
    if checks[-1].status == "ok":
        with opened_database(configuration) as (database, _):
            checks.append(check_jobs(settings, database))
    if settings.tls_key_file is not None:
        key_file = settings.tls_key_file
        checks.append(_check("tls", lambda: _check_tls(settings, key_file), f"check {variable('tls_cert_file')}"))
    if settings.redis_url is not None:
        address = settings.redis_url
        checks.append(_check("redis", lambda: _check_redis(address), f"check {variable('redis_url')}"))
    checks.append(check_limits(settings))
    is_ok = all(check.status != "failed" for check in checks)
    rows = [_setting_row(configuration, name) for name in Settings.model_fields]
    if as_json:
        print_json({"ok": is_ok, "checks": [check._asdict() for check in checks], "settings": rows})
    else:
        for check in checks:
            say(f"{check.status:<7}  {check.name}: {check.detail}")
            if check.fix:
                say(f"{'':<7}  what to do: {check.fix}")
        say()
        print_table(
            ("SETTING", "VALUE", "SOURCE"),
            [(row["name"], row["value"], row["source"]) for row in rows],
            empty="",
        )
    if not is_ok:
        raise typer.Exit(CHECK_FAILED)


def _check(name: str, look: Callable[[], str], fix: str) -> Check:
    try:
        return Check(name, "ok", look(), None)
    except FailedCheckError as error:
        return Check(name, "failed", error.message, error.fix)
    except DomainError as error:
        return Check(name, "failed", error.message, fix)


def _check_folder(folder: Path) -> str:
    try:
        _require_private(folder)
    except OSError as error:
        raise UnavailableError(f"{folder}: {error.strerror}") from None
    try:
        with tempfile.TemporaryFile(dir=folder):  # asked for its mode, it would say yes to the superuser in any case
            return str(folder)
    except OSError as error:
        raise FailedCheckError(f"{folder} cannot be written to: {error.strerror}", "change its owner or mode") from None


def _check_database(configuration: Configuration) -> str:
    with opened_database(configuration) as (database, _):
        if database.is_sqlite:
            _require_private(Path(str(database.engine.url.database)))
        return f"{database.engine.dialect.name}, schema {migrations.current_revision(database)}"


def _check_tls(settings: Settings, key_file: Path) -> str:
    check_tls(settings)
    _require_private(key_file)
    return "certificate and key belong together"


def _require_private(path: Path) -> None:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        raise FailedCheckError(f"{path} is open to others (mode {mode:o})", f"chmod go= {path}")


def _check_redis(address: SecretStr) -> str:
    try:
        import redis
    except ImportError:  # pragma: no cover - an extra that the tests have installed
        raise UnavailableError("the server's extra [redis] is not installed") from None
    try:
        with redis.Redis.from_url(
            address.get_secret_value(), socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        ) as client:
            client.ping()
    except (redis.RedisError, ValueError, TypeError, OSError):  # their texts may show the address
        raise UnavailableError("it does not answer, or its address is no redis:// URL") from None
    return "answers"


def _setting_row(configuration: Configuration, name: str) -> dict[str, Any]:
    value = getattr(configuration.settings, name)
    if isinstance(value, SecretStr):
        shown = _without_password(value.get_secret_value())
    elif isinstance(value, tuple):
        shown = ",".join(value)
    else:
        shown = "" if value is None else str(value)
    return {"name": variable(name), "value": shown, "source": configuration.source(name)}


def _without_password(address: str) -> str:
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        return HIDDEN
    if "@" in (url.host or ""):  # a password with an @ of its own, whose end cannot be told
        return HIDDEN
    masked = {name: HIDDEN if "pass" in name.lower() else value for name, value in url.query.items()}
    return url.set(query=masked).render_as_string(hide_password=True)
