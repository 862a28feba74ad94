"""`ecross-server migrate` and `openapi`: the database's schema, and the API's."""

from __future__ import annotations

from typing import Annotated

import typer

from ecross_server import migrations
from ecross_server.cli.output import AsJson, print_json, say
from ecross_server.cli.setup import prepare
from ecross_server.settings import Settings, load_settings


def migrate(*, as_json: AsJson = False) -> None:
    """Bring the database to this version's schema; on an empty data folder, make all that it needs."""
    prepare(load_settings().settings)
    if as_json:
        print_json({"revision": migrations.REVISIONS[-1]})
    else:
        say(f"The database is at revision {migrations.REVISIONS[-1]}.")


def openapi(
    *,
    admin: Annotated[bool, typer.Option("--admin", help="That of the administration instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print the OpenAPI document of the whole server, as merchants reach it."""
    from ecross_server.app.assembly import make_api
    from ecross_server.app.documentation import admin_document, openapi_document

    del as_json  # it is JSON in any case
    if admin:
        from ecross_server.app.administration import make_admin_api

        print_json(admin_document(make_admin_api()))
    else:
        print_json(openapi_document(make_api(Settings())))
