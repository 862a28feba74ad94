"""`ecross-server approvals`: a second person's word before somebody gets a secret."""

from __future__ import annotations

from typing import Annotated

import typer

from ecross_server.approvals import service
from ecross_server.approvals.rules import Act, Subject
from ecross_server.approvals.schemas import ApprovalListOut, ApprovalOut
from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, print_facts, print_model, print_table, say, shown
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now

app = typer.Typer(no_args_is_help=True, help="Ask for a second person's approval, and give or refuse it.")

ApprovalId = Annotated[str, typer.Argument(metavar="APPROVAL_ID", help="As `approvals list` shows it.")]


@app.command()
def ask(
    act: Annotated[Act, typer.Argument(help="What is to be done.")],
    merchant_id: Annotated[str, typer.Argument(metavar="ID", help="The merchant's id, such as ACME.")],
    client_id: Annotated[
        str | None, typer.Argument(metavar="CLIENT_ID", help="Whose secret; a new client has no id yet.")
    ] = None,
    *,
    reason: Annotated[str, typer.Option(help="What it is for: whoever decides reads it.")],
    as_json: AsJson = False,
) -> None:
    """Ask for an approval: one act, once, within a day."""
    now = utc_now()
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        subject = Subject(act, merchant_id, client_id)
        out = ApprovalOut.of(service.ask_approval(session, subject, reason, now=now, by=by), now)
    if as_json:
        print_model(out)
        return
    say(f"Asked: {out.approval_id}, {out.state}, until {shown(out.expires_at)}.")
    say(f"Somebody else grants it: ecross-server approvals grant {out.approval_id}")


@app.command("list")
def list_(
    *,
    only_open: Annotated[bool, typer.Option("--open", help="Only those that wait for an answer or their act.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the newest 200 approvals, the newest first."""
    now = utc_now()
    with opened_database() as (database, _), database.read() as session:
        listed = [ApprovalOut.of(each, now) for each in service.list_approvals(session, now=now, only_open=only_open)]
    if as_json:
        print_model(ApprovalListOut(approvals=listed))
        return
    print_table(
        ("APPROVAL", "STATE", "ACT", "MERCHANT", "CLIENT ID", "ASKED", "BY", "DECIDED BY", "REASON"),
        [
            (
                each.approval_id, each.state, each.act, each.merchant_id, each.client_id, shown(each.asked_at),
                each.asked_by, each.decided_by, each.reason,
            )
            for each in listed
        ],
        empty="No approvals. Ask for one: ecross-server approvals ask credentials.issue ACME --reason '...'",
    )  # fmt: skip


@app.command()
def show(approval_id: ApprovalId, *, as_json: AsJson = False) -> None:
    """Show an approval: who asked for what and why, and what was said."""
    with opened_database() as (database, _), database.read() as session:
        out = ApprovalOut.of(service.show_approval(session, approval_id), utc_now())
    if as_json:
        print_model(out)
        return
    print_facts(
        {
            "approval": out.approval_id,
            "act": out.act,
            "merchant": out.merchant_id,
            "client id": out.client_id,
            "reason": out.reason,
            "state": out.state,
            "asked": f"{shown(out.asked_at)} by {out.asked_by}",
            "until": shown(out.expires_at),
            "decided": None if out.decided_at is None else f"{shown(out.decided_at)} by {out.decided_by}",
            "used": shown(out.used_at),
        }
    )


@app.command()
def grant(approval_id: ApprovalId, *, as_json: AsJson = False) -> None:
    """Grant it: whoever asked may do it, once."""
    _decide(approval_id, is_granted=True, as_json=as_json)


@app.command()
def refuse(approval_id: ApprovalId, *, as_json: AsJson = False) -> None:
    """Refuse it; whoever asked takes it back so."""
    _decide(approval_id, is_granted=False, as_json=as_json)


def _decide(approval_id: str, *, is_granted: bool, as_json: bool) -> None:
    now = utc_now()
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        approval = service.decide_approval(session, approval_id, is_granted=is_granted, now=now, by=by)
        out = ApprovalOut.of(approval, now)
    if as_json:
        print_model(out)
    elif is_granted:
        say(f"Granted. {out.asked_by} may do it once, until {shown(out.expires_at)}: {out.act} for {out.merchant_id}.")
    else:
        say(f"Refused: {out.act} for {out.merchant_id}.")
