"""`ecross-server keys`: the keys that sign access tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ecross_server.auth.schemas import SigningKeyListOut, SigningKeyOut
from ecross_server.auth.tokens import exported_keys, list_signing_keys, rotate_signing_keys
from ecross_server.cli.acting import acting_on_file
from ecross_server.cli.output import AsJson, print_model, print_table, say, shown, warn
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.kit.errors import ConflictError, Fault, InvalidInputError, UnavailableError
from ecross_server.kit.private_files import UnwritableError, create_private_file, write_private_file
from ecross_server.merchants.rules import parse_delay
from ecross_server.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="List, rotate and export the keys that sign access tokens.")

After = Annotated[
    str | None,
    typer.Option(
        metavar="DURATION", help="Only known for so long, such as 10m: time to bring the file to all servers."
    ),
]


class FileExistsAlreadyError(ConflictError):
    """What would be overwritten may be needed."""

    code = "file_exists"


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the signing keys, without the keys themselves."""
    keys = list_signing_keys(load_settings().settings.signing_keys_file, now=utc_now())
    if as_json:
        print_model(SigningKeyListOut(keys=[SigningKeyOut.of(key) for key in keys]))
        return
    print_table(
        ("KEY", "ALGORITHM", "STATUS", "CREATED", "SIGNS FROM", "RETIRES"),
        [
            (
                key.key_id, "HS256", key.status, shown(key.created_at), shown(key.starts_at or key.created_at),
                shown(key.retires_at),
            )
            for key in keys
        ],
        empty="",
    )  # fmt: skip


@app.command()
def rotate(
    *,
    after: After = None,
    drop_old: Annotated[
        bool, typer.Option("--drop-old", help="A key has leaked: drop all others. Every token ends at once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Sign with a new key. Tokens of the older ones stay good until they expire."""
    delay = parse_delay("after", after)
    if delay and drop_old:
        reason = "cannot be combined with --drop-old: the new key has to sign at once"
        raise InvalidInputError(f"after {reason}", (Fault("after", reason),))
    file = load_settings().settings.signing_keys_file
    try:
        with opened_database() as (database, settings), acting_on_file(database, settings, "keys.rotate") as begin:
            key = rotate_signing_keys(
                file, now=utc_now(), starts_in=delay, drop_old=drop_old,
                before=lambda key_id: begin(keyId=key_id, droppedOld=drop_old),
            )  # fmt: skip
    except UnavailableError as error:
        if not drop_old or isinstance(error, UnwritableError):
            raise
        # A leaked key must go, database or not.
        key = rotate_signing_keys(file, now=utc_now(), drop_old=True)
        warn(f"The audit trail does not have this: {error.message}")
    if as_json:
        print_model(SigningKeyOut.of(key))
        return
    say(f"The key {key.key_id} signs from {shown(key.starts_at)} on." if delay else f"The key {key.key_id} signs now.")
    if drop_old:
        say("All older keys are gone: every token fails within 2 seconds, and clients ask for new ones.")
    else:
        say("Tokens of the older keys stay good until they expire.")
    say(f"On another machine, {file} has to be brought there.")


@app.command()
def export(
    *,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="The file to write, of mode 0600.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the keys as a JWK Set for services that verify tokens themselves."""
    if out.is_symlink():  # it could lead anywhere
        raise FileExistsAlreadyError(f"{out} is a symbolic link. Name the file itself.")
    with opened_database() as (database, settings), acting_on_file(database, settings, "keys.export") as begin:
        file, now = settings.signing_keys_file, utc_now()
        content = exported_keys(file, now=now)
        if out.exists() and out.samefile(file):
            raise FileExistsAlreadyError(f"{out} is the signing keys' file itself. Name another file.")
        keys = [key for key in list_signing_keys(file, now=now) if key.status != "retired"]
        begin(count=len(keys))
        if force:
            write_private_file(out, content)
        elif not create_private_file(out, content):
            raise FileExistsAlreadyError(f"{out} exists. To overwrite it: --force")
    if as_json:
        print_model(SigningKeyListOut(keys=[SigningKeyOut.of(key) for key in keys]))
        return
    say(f"Wrote {len(keys)} key{'s' if len(keys) > 1 else ''} to {out}.")
    say("Keep it secret: whoever reads it can make tokens.")
    say("Export again after each rotation: a verifier does not learn of new or dropped keys by itself.")
