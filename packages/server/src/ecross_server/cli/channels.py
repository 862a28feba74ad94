"""`ecross-server channels`: where shoppers buy, and which merchants sell there."""

from __future__ import annotations

from typing import Annotated

import typer

from ecross_server.channels import service
from ecross_server.channels.schemas import (
    ChannelListOut,
    ChannelOut,
    ChannelUseOut,
    ConnectionListOut,
    ConnectionOut,
)
from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, print_model, print_table, say
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.merchants import service as merchants
from ecross_server.publication import service as publication
from ecross_server.publication.feeds import feed_path

app = typer.Typer(no_args_is_help=True, help="Manage sales channels, and which merchants sell on them.")

ChannelId = Annotated[str, typer.Argument(metavar="CHANNEL", help="The channel's id, such as ECOM.")]
MerchantId = Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id, such as ACME.")]


@app.command()
def add(
    channel_id: ChannelId,
    name: Annotated[str, typer.Option(help="The channel's name.")],
    country: Annotated[str, typer.Option(help="Where its shoppers are: ISO 3166-1 alpha-2, such as BR.")],
    currency: Annotated[str, typer.Option(help="What they pay with: ISO 4217, such as BRL.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Add a sales channel. Nobody sells there before being connected."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        channel = service.add_channel(
            session, channel_id, name=name, country=country, currency=currency, now=utc_now(), by=by
        )
        out = ChannelOut.of(channel, feed_path(settings.feeds_folder, channel_id))
    if as_json:
        print_model(out)
        return
    say(f"Added {channel.id} ({channel.name}).")
    say(f"Let a merchant sell there: ecross-server channels connect ACME {channel.id}")


@app.command("list")
def list_(
    *,
    merchant_id: Annotated[
        str | None, typer.Option("--merchant", metavar="ID", help="Only those on which this merchant sells.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the sales channels."""
    with opened_database() as (database, settings), database.read() as session:
        if merchant_id is not None:
            merchants.show_merchant(session, merchant_id)
            _print_connections(
                ConnectionListOut.of(merchant_id, service.list_connections(session, merchant_id)), as_json
            )
            return
        uses = [
            ChannelUseOut.of_use(use, feed_path(settings.feeds_folder, use.channel.id))
            for use in service.list_channels(session)
        ]
    if as_json:
        print_model(ChannelListOut(channels=uses))
        return
    print_table(
        ("ID", "NAME", "COUNTRY", "CURRENCY", "MERCHANTS", "FEED"),
        [(use.channel_id, use.name, use.country, use.currency, _merchants(use), use.feed) for use in uses],
        empty="There is no sales channel.",
    )


@app.command()
def connect(
    merchant_id: MerchantId,
    channel_id: ChannelId,
    *,
    review: Annotated[
        bool, typer.Option("--review", help="A person has to approve each SKU first, see reviews.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a merchant sell on a channel: what is ready is published there."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        service.connect_merchant(session, merchant_id, channel_id, needs_review=review, now=utc_now(), by=by)
    out = ConnectionOut(merchant_id=merchant_id, channel_id=channel_id, connected=True, needs_review=review)
    if as_json:
        print_model(out)
    else:
        say(f"{merchant_id} sells on {channel_id}{', after reviews' if review else ''}.")


@app.command()
def disconnect(merchant_id: MerchantId, channel_id: ChannelId, *, as_json: AsJson = False) -> None:
    """Take all that a merchant sells off a channel."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        service.disconnect_merchant(session, merchant_id, channel_id, now=utc_now(), by=by)
    out = ConnectionOut(merchant_id=merchant_id, channel_id=channel_id, connected=False, needs_review=False)
    if as_json:
        print_model(out)
    else:
        say(f"{merchant_id} sells on {channel_id} no more. What it sold there is taken off within seconds.")


@app.command()
def refresh(channel_id: ChannelId, *, as_json: AsJson = False) -> None:
    """Write a channel's feed anew, such as after the file was lost."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        channel = publication.renew_feed(session, channel_id, now=utc_now(), by=by)
        out = ChannelOut.of(channel, feed_path(settings.feeds_folder, channel_id))
    if as_json:
        print_model(out)
    else:
        say(f"The feed {out.feed} is written anew within seconds.")


def _print_connections(out: ConnectionListOut, as_json: bool) -> None:  # noqa: FBT001 - the command's own option
    if as_json:
        print_model(out)
        return
    print_table(
        ("MERCHANT", "CHANNEL", "REVIEW"),
        [(it.merchant_id, it.channel_id, "yes" if it.needs_review else "no") for it in out.connections],
        empty="The merchant sells on no channel. Connect it: ecross-server channels connect ACME ECOM",
    )


def _merchants(use: ChannelUseOut) -> str:
    if not use.is_open:
        return str(use.connected)
    return f"all but {use.disconnected}" if use.disconnected else "all"
