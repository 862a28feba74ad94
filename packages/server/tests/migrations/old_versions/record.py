"""Records the statements of this version's main acts, for later versions to replay on their schema.

    .venv/bin/python packages/server/tests/migrations/old_versions/record.py

Run it when a version is released; its files are never changed afterwards. For each kind of database it writes one,
named by the newest revision: a statement a line, an empty object where a transaction ended. PostgreSQL is the one of
the tests. The audit trail is left out: each of its rows follows from the one before, so none can be written again.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import Engine, create_engine, event, text

from ecross_server import migrations
from ecross_server.auth.registry import Registry
from ecross_server.catalog.service import list_skus
from ecross_server.cli.main import run
from ecross_server.kit.database import Database
from ecross_server.merchants.service import Digest, PepperChange

FOLDER: Final = Path(__file__).parent
MERCHANT: Final = "OLD_VERSION"
NOT_OURS: Final = ("BEGIN", "PRAGMA", "SET ", "SHOW ")
NOT_REPEATED: Final = ("alembic_version", "pg_catalog", "audit_")
ADMIN_URL: Final = os.environ.get("ECROSS_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")


def main() -> None:
    """Write both files."""
    with tempfile.TemporaryDirectory() as folder:
        record("sqlite", f"sqlite:///{folder}/ecross.db", Path(folder))
        with fresh_postgresql() as url:
            record("postgresql", url, Path(folder))


def record(kind: str, url: str, folder: Path) -> None:
    """Write one kind's file."""
    os.environ["ECROSS_SERVER_DATA_DIR"] = str(folder / kind)
    os.environ["ECROSS_SERVER_DATABASE_URL"] = url
    command("migrate")
    lines: list[dict[str, Any]] = []

    def on_statement(*arguments: Any) -> None:
        _, _, statement, parameters, context, many = arguments
        if statement.startswith(NOT_OURS) or any(name in statement for name in NOT_REPEATED):
            return
        names = getattr(context.compiled, "positiontup", None)
        for each in parameters if many else [parameters]:
            if isinstance(each, dict):
                values: Any = {name: encode(name, value) for name, value in each.items()}
            else:
                values = [encode(*pair) for pair in zip_longest(names or (), each, fillvalue="")]  # lists come last
            lines.append({"statement": statement, "parameters": values})

    def on_end(_connection: Any) -> None:
        if lines and lines[-1]:
            lines.append({})

    event.listen(Engine, "before_cursor_execute", on_statement)
    event.listen(Engine, "commit", on_end)
    event.listen(Engine, "rollback", on_end)
    try:
        act(url, folder)
    finally:
        event.remove(Engine, "before_cursor_execute", on_statement)
        event.remove(Engine, "commit", on_end)
        event.remove(Engine, "rollback", on_end)
    file = FOLDER / f"{migrations.REVISIONS[-1]}.{kind}.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    sys.stderr.write(f"{file.name}: {sum(bool(line) for line in lines)} statements\n")


def act(url: str, folder: Path) -> None:
    """What a server and its operators do."""
    skus = folder / "skus.jsonl"
    command("merchants", "register", MERCHANT, "--name", "Served by the old version")
    command("credentials", "issue", MERCHANT, "--label", "second", "--expires-in", "90d")
    for name in ("One", "Another"):
        skus.write_text(
            json.dumps({"skuId": "1", "productId": "1", "name": name, "weight": 0.5}) + "\n", encoding="utf-8"
        )
        command("skus", "import", MERCHANT, str(skus))
    command("merchants", "list")
    command("merchants", "show", MERCHANT)
    command("credentials", "list")
    with closing(Database(url)) as database:
        registry = Registry(database)
        registry.refresh()
        with database.read() as session:
            list_skus(
                session, MERCHANT, updated_after=None, page_token=None, page_size=9, page_tokens=cast("Any", None)
            )
        client = next(iter(registry._clients.values()))
        secret = client.secrets[0]
        old, new = Digest(secret.digest, secret.pepper_id), Digest(os.urandom(32), secret.pepper_id)
        registry.change_peppers([PepperChange(secret.secret_id, old, new)])
        command("merchants", "disable", MERCHANT)
        command("merchants", "enable", MERCHANT)
        command("credentials", "limit", client.client_id, "--scope", "merchant:read", "--allow", "198.51.100.0/24")
        command("credentials", "revoke", client.client_id)
        Registry(database).refresh()


def encode(name: str, value: Any) -> Any:
    """The value as JSON."""
    if name == "revision":  # what the update of the counter gave, at the time of the replay
        return {"revision": True}
    if isinstance(value, (bytes, memoryview)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, datetime):
        return {"instant": value.isoformat()}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if hasattr(value, "obj"):  # psycopg's wrappers
        return encode(name, value.obj) if isinstance(value.obj, bytes) else {"json": value.obj}
    return value


def command(*arguments: str) -> None:
    """Run a command of this version."""
    sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - its results hold secrets
    try:
        if code := run(list(arguments)):
            raise SystemExit(code)
    finally:
        sys.stdout.close()
        sys.stdout = sys.__stdout__


@contextmanager
def fresh_postgresql() -> Iterator[str]:
    """The address of a new database, dropped afterwards."""
    name = f"ecross_record_{uuid.uuid4().hex}"
    admin = create_engine(ADMIN_URL, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield admin.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


if __name__ == "__main__":
    main()
