"""The demo merchant: real credentials and a dozen SKUs, so that a first call can be made at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.audit.service import Actor, record_act
from ecross_server.catalog import service as catalog
from ecross_server.catalog.schemas import read_sku
from ecross_server.cli.acting import acting
from ecross_server.cli.setup import opened_database
from ecross_server.cli.skus import IMPORT
from ecross_server.kit.clock import utc_now
from ecross_server.kit.errors import DomainError
from ecross_server.kit.private_files import read_private_json, write_private_file
from ecross_server.merchants import service
from ecross_server.merchants.errors import MerchantNotFoundError
from ecross_server.merchants.rules import Peppers, is_client_secret
from ecross_server.merchants.service import Client
from ecross_server.settings import Configuration, Settings

MERCHANT_ID: Final = "DEMO"
NAME: Final = "Demo merchant"
SKUS_FILE: Final = "demo_skus.jsonl"


def ensure_demo_merchant(configuration: Configuration) -> bool:
    """Register the demo merchant the first time; later, only see to it that its credentials' file works.

    Whether it can be used: a disabled demo merchant stays disabled, for that was somebody's decision.
    """
    with opened_database(configuration) as (database, settings), acting(database, settings) as (session, by):
        peppers = service.load_peppers(settings.peppers_file)
        try:
            merchant, clients = service.show_merchant(session, MERCHANT_ID)
        except MerchantNotFoundError:
            _register(session, by)
            clients = ()
        else:
            if merchant.status == "disabled":
                return False
        if not _opens(settings, clients, peppers):
            _issue(session, settings, peppers, by)
    return True


def _register(session: Session, by: Actor) -> None:
    now = utc_now()
    service.register_merchant(session, MERCHANT_ID, NAME, now=now, by=by)
    lines = files("ecross_server.cli").joinpath(SKUS_FILE).read_bytes().splitlines()
    catalog.save_skus(session, MERCHANT_ID, [read_sku(line) for line in lines], now=now)
    record_act(session, actor=by, action=IMPORT, merchant_id=MERCHANT_ID, now=now, count=len(lines))


def _opens(settings: Settings, clients: Sequence[Client], peppers: Peppers) -> bool:
    try:
        content = read_private_json(settings.demo_credentials_file)
    except DomainError:
        return False
    client_secret = str(content.get("clientSecret"))
    return is_client_secret(client_secret) and any(
        secret.digest == peppers.digest(client_secret)
        for client in clients
        if client.id == content.get("clientId") and client.status == "active"
        for secret in client.secrets
    )


def _issue(session: Session, settings: Settings, peppers: Peppers, by: Actor) -> None:
    issued = service.issue_credential(session, MERCHANT_ID, peppers=peppers, now=utc_now(), by=by, label="demo")
    credentials = {"clientId": issued.client.id, "clientSecret": issued.client_secret}
    # Before the commit: a file without its client is replaced at the next start, a secret without its file is lost.
    write_private_file(settings.demo_credentials_file, json.dumps(credentials, indent=2) + "\n")
