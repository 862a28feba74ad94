"""`ecross-server operators`: who administers this server over HTTP and in the console."""

from __future__ import annotations

import sys
import termios
import time
from typing import Annotated, Final

import typer

from ecross_server.cli.acting import acting, audit_keys
from ecross_server.cli.output import AsJson, print_facts, print_json, print_model, print_table, say, shown, warn
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants.service import load_peppers
from ecross_server.operators import passkeys, service
from ecross_server.operators.rules import OperatorKeys, SessionEnds
from ecross_server.operators.schemas import (
    EndedSessionsOut,
    InvitedOperatorOut,
    OperatorListOut,
    OperatorOut,
    PasskeyListOut,
    PasskeyOut,
    SessionListOut,
    SessionOut,
)
from ecross_server.operators.service import Caller, Invitation, Operator
from ecross_server.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Say who may administer this server over HTTP.")

OperatorId = Annotated[str, typer.Argument(metavar="ID", help="The operator's id, such as jane.")]
RoleName = Annotated[str, typer.Option("--role", help="viewer, representative or owner.")]

NEXT: Final = "Give the invitation to nobody else: whoever uses it first is this operator. It works once. To use it:"


@app.command()
def add(
    operator_id: OperatorId,
    name: Annotated[str, typer.Option(help="Who it is.")],
    role: RoleName,
    *,
    as_json: AsJson = False,
) -> None:
    """Invite an operator, who then chooses a password and sets up an authenticator."""
    with opened_database() as (database, settings):
        keys = _keys(settings)
        with acting(database, settings) as (session, by):
            invitation = service.invite_operator(session, operator_id, name, role, keys=keys, now=utc_now(), by=by)
    _print_invitation(invitation, settings, as_json=as_json)


@app.command()
def reinvite(operator_id: OperatorId, *, as_json: AsJson = False) -> None:
    """Invite an operator again, for a new password and authenticator; the old ones and passkeys end when it is used."""
    with opened_database() as (database, settings):
        keys = _keys(settings)
        with acting(database, settings) as (session, by):
            invitation = service.reinvite_operator(session, operator_id, keys=keys, now=utc_now(), by=by)
    _print_invitation(invitation, settings, as_json=as_json)


@app.command()
def enroll(*, as_json: AsJson = False) -> None:
    """Use an invitation here: asks for its token, a password, and a code of your authenticator.

    On a terminal nothing of it is shown. Otherwise each is a line of standard input.
    """
    with opened_database() as (database, settings):
        keys = _keys(settings)
        token = _ask("Invitation")
        with database.read() as session:
            enrolment = service.begin_enrolment(session, token, keys=keys, now=utc_now())
        password = _ask("New password (12 characters or more)")
        if sys.stdin.isatty() and _ask("The same again") != password:
            raise InvalidInputError("password was not the same twice", (Fault("password", "was not the same twice"),))
        warn(f"\nFor your authenticator, {enrolment.operator.operator_id}:\n")
        warn(_qr_code(enrolment.totp_uri))
        warn(f"Or by hand: {enrolment.totp_secret}\n")
        code = _ask("Code that it shows")
        done = service.finish_enrolment(
            database, token, password, code, door=_door(keys), caller=Caller(audit_keys(settings.peppers_file)),
            now=utc_now(),
        )  # fmt: skip
    _print(done, f"Enrolled {done.operator_id} as {done.role}.", as_json=as_json)


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List all operators."""
    with opened_database() as (database, _), database.read() as session:
        operators = [OperatorOut.of(operator) for operator in service.list_operators(session)]
    if as_json:
        print_model(OperatorListOut(operators=operators))
        return
    print_table(
        ("ID", "NAME", "ROLE", "STATUS", "CREATED", "LAST SIGNED IN"),
        [
            (each.operator_id, each.name, each.role, each.status, shown(each.created_at), shown(each.last_signed_in_at))
            for each in operators
        ],
        empty="No operators. Invite the first: ecross-server operators add jane --name 'Jane Doe' --role owner",
    )


@app.command()
def show(operator_id: OperatorId, *, as_json: AsJson = False) -> None:
    """Show an operator."""
    with opened_database() as (database, _), database.read() as session:
        out = OperatorOut.of(service.get_operator(session, operator_id))
    if as_json:
        print_model(out)
        return
    print_facts({
        "id": out.operator_id, "name": out.name, "role": out.role, "status": out.status,
        "created": shown(out.created_at), "last signed in": shown(out.last_signed_in_at),
    })  # fmt: skip


@app.command()
def role(operator_id: OperatorId, role: RoleName, *, as_json: AsJson = False) -> None:
    """Give an operator another role. Administration tokens end; sessions go on with it."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        changed = service.change_role(session, operator_id, role, now=utc_now(), by=by)
    _print(changed, f"{changed.operator_id} is {changed.role} now.", as_json=as_json)


@app.command()
def disable(operator_id: OperatorId, *, as_json: AsJson = False) -> None:
    """End an operator's access at once: sessions, administration tokens, an open invitation."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        disabled = service.disable_operator(session, operator_id, now=utc_now(), by=by)
    _print(disabled, f"Disabled {disabled.operator_id}.", as_json=as_json)


@app.command()
def enable(operator_id: OperatorId, *, as_json: AsJson = False) -> None:
    """Let a disabled operator sign in again, with the password and authenticator of before."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        enabled = service.enable_operator(session, operator_id, now=utc_now(), by=by)
    _print(enabled, f"Enabled {enabled.operator_id}.", as_json=as_json)


@app.command()
def sessions(operator_id: OperatorId, *, as_json: AsJson = False) -> None:
    """List the console's sessions of an operator."""
    with opened_database() as (database, settings), database.read() as session:
        found = service.list_sessions(session, operator_id, ends=_ends(settings), now=utc_now())
    listed = [SessionOut.of(each) for each in found]
    if as_json:
        print_model(SessionListOut(operator_id=operator_id, sessions=listed))
        return
    print_table(
        ("SESSION", "SIGNED IN", "LAST SEEN", "ENDS", "FROM", "BROWSER"),
        [
            (
                each.session_id, shown(each.created_at), shown(each.last_seen_at), shown(each.ends_at), each.address,
                each.user_agent,
            )
            for each in listed
        ],
        empty="No sessions.",
    )  # fmt: skip


@app.command("sign-out")
def sign_out(
    operator_id: OperatorId,
    session_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[SESSION_ID]...", help="Only these; without any, all, and all tokens."),
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """End an operator's sessions; all of them together with the administration tokens."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        ended = service.end_sessions(session, operator_id, now=utc_now(), by=by, session_ids=session_ids or None)
    if as_json:
        print_model(EndedSessionsOut(operator_id=operator_id, ended=list(ended)))
    else:
        say(f"Ended {len(ended)} session{'' if len(ended) == 1 else 's'} of {operator_id}.")


@app.command("passkeys")
def passkeys_(operator_id: OperatorId, *, as_json: AsJson = False) -> None:
    """List the passkeys with which an operator signs in to the console."""
    with opened_database() as (database, _), database.read() as session:
        listed = [PasskeyOut.of(each) for each in passkeys.list_passkeys(session, operator_id)]
    if as_json:
        print_model(PasskeyListOut(operator_id=operator_id, passkeys=listed))
        return
    print_table(
        ("PASSKEY", "LABEL", "ADDED", "LAST USED"),
        [(each.passkey_id, each.label, shown(each.created_at), shown(each.last_used_at)) for each in listed],
        empty="No passkeys. They are added in the console.",
    )


@app.command("remove-passkey")
def remove_passkey(
    operator_id: OperatorId,
    passkey_id: Annotated[str, typer.Argument(metavar="PASSKEY_ID", help="Its id, such as psk_q7w4k2m5zt3xa.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Let a passkey open nothing any more. Sessions that it has begun go on; see sign-out."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        passkeys.remove_passkey(session, operator_id, passkey_id, now=utc_now(), by=by)
        left = [PasskeyOut.of(each) for each in passkeys.list_passkeys(session, operator_id)]
    if as_json:
        print_model(PasskeyListOut(operator_id=operator_id, passkeys=left))
    else:
        say(f"Removed the passkey {passkey_id} of {operator_id}.")


@app.command()
def token(
    operator_id: OperatorId,
    *,
    raw: Annotated[bool, typer.Option("--raw", help="The token alone.")] = False,
    header: Annotated[bool, typer.Option("--header", help="As a header, for curl -H @-.")] = False,
    as_json: AsJson = False,
) -> None:
    """Print an administration token of an operator, for scripts on this machine."""
    from ecross_server.admin.tokens import AdminTokens

    if raw == header and not as_json:
        reason = "contradicts --header" if raw else "or --header must be given: without one no token is printed"
        raise InvalidInputError(f"raw {reason}", (Fault("raw", reason),))
    with opened_database() as (database, settings):
        peppers = load_peppers(settings.peppers_file)
        tokens = AdminTokens(
            settings.signing_keys_file, lambda: peppers, issuer=settings.issuer, audience=settings.admin_audience,
            lifetime_seconds=settings.admin_token_lifetime_seconds, clock=time.time,
        )  # fmt: skip
        with acting(database, settings) as (session, by):
            operator = service.require_able(service.get_operator(session, operator_id))
            issued = tokens.issue(operator)
            service.record_token(session, operator, issued.token_id, now=utc_now(), by=by)
    if as_json:
        print_json({"token": issued.token, "tokenType": "Bearer", "expiresIn": issued.expires_in})
    else:
        say(f"Authorization: Bearer {issued.token}" if header else issued.token)


def _keys(settings: Settings) -> OperatorKeys:
    peppers = load_peppers(settings.peppers_file)
    return OperatorKeys(peppers.current, peppers.keys)


def _door(keys: OperatorKeys) -> service.Door:
    from ecross_server.auth.limits.local import BudgetTable
    from ecross_server.operators.passwords import Passwords

    return service.Door(lambda: keys, Passwords(), service.SignInGuard(BudgetTable(64)))


def _ends(settings: Settings) -> SessionEnds:
    return SessionEnds.of_seconds(settings.operator_session_idle_seconds, settings.operator_session_seconds)


def _ask(question: str) -> str:
    """What is typed without being shown, or else the next line of standard input."""
    if sys.stdin is None:
        raise InvalidInputError("There is no standard input to read.")
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    sys.stderr.write(f"{question} (not shown): ")
    sys.stderr.flush()
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    hidden = list(before)
    hidden[3] &= ~termios.ECHO
    try:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, hidden)
        return sys.stdin.readline().rstrip("\r\n")
    finally:
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
        warn("")


def _qr_code(uri: str) -> str:
    """The text as a QR code in half blocks, its light parts in the color of the terminal's text."""
    import segno

    rows = [[bool(module) for module in row] for row in segno.make(uri, error="l", micro=False).matrix_iter(border=2)]
    rows += [[False] * len(rows[0])] * (len(rows) % 2)
    blocks = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
    return "\n".join(
        "".join(blocks[pair] for pair in zip(upper, lower, strict=True))
        for upper, lower in zip(rows[::2], rows[1::2], strict=True)
    )


def _print(operator: Operator, sentence: str, *, as_json: bool) -> None:
    if as_json:
        print_model(OperatorOut.of(operator))
    else:
        say(sentence)


def _print_invitation(invitation: Invitation, settings: Settings, *, as_json: bool) -> None:
    if as_json:
        print_model(InvitedOperatorOut.of_invitation(invitation))
        return
    it = invitation.operator
    say(f"Invited {it.operator_id} ({it.name}) as {it.role}.")
    say()
    print_facts({"invitation": invitation.token, "works until": shown(invitation.expires_at)})
    say()
    say(NEXT)
    if settings.console_base_url is not None:
        say(f"  {settings.console_base_url}/console/invitations/{invitation.token}")
        say("or on this machine:")
    say("  ecross-server operators enroll")
