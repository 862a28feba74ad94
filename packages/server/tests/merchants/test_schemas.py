from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.kit.database import Database
from ecross_server.merchants import service
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.schemas import (
    ClientOut,
    CredentialListOut,
    IssuedCredentialOut,
    MerchantListOut,
    MerchantOut,
    MerchantWithClientsOut,
    RegisteredMerchantOut,
    SecretOut,
)
from ecross_server.merchants.service import Client, IssuedCredential, Merchant

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
SHOWN = "2026-01-02T03:04:05.678Z"
MERCHANT = {"merchantId": "ACME", "name": "Acme", "status": "active", "createdAt": SHOWN}


def wire(model: BaseModel) -> Any:
    return json.loads(model.model_dump_json(by_alias=True))


def issued(database: Database, peppers: Peppers, **options: Any) -> tuple[Merchant, IssuedCredential]:
    with database.write() as session:
        merchant = service.register_merchant(session, "ACME", "Acme", now=NOW, by=BY)
        return merchant, service.issue_credential(session, "ACME", peppers=peppers, now=NOW, **options, by=BY)


def secret_of(credential: IssuedCredential, **others: Any) -> dict[str, Any]:
    return {
        "secretId": credential.secret.id, "label": None, "status": "active", "createdAt": SHOWN, "expiresAt": None,
        "retiresAt": None, "lastUsedAt": None, "lastUsedAddress": None,
    } | others  # fmt: skip


def client_of(credential: IssuedCredential, **others: Any) -> dict[str, Any]:
    return {
        "clientId": credential.client.id, "merchantId": "ACME", "status": "active", "scope": "merchant",
        "allowedNetworks": None, "createdAt": SHOWN, "secrets": [secret_of(credential)],
    } | others  # fmt: skip


def test_a_merchant_has_the_keys_of_the_interface(database: Database, peppers: Peppers) -> None:
    merchant, _ = issued(database, peppers)
    assert wire(MerchantOut.of(merchant)) == MERCHANT
    assert wire(MerchantListOut(merchants=[MerchantOut.of(merchant)])) == {"merchants": [MERCHANT]}


def test_a_registered_merchant_shows_its_first_secret_once(database: Database, peppers: Peppers) -> None:
    merchant, credential = issued(database, peppers)
    out = RegisteredMerchantOut(
        **MerchantOut.of(merchant).model_dump(),
        client_id=credential.client.id,
        client_secret=credential.client_secret,
    )
    expected = MERCHANT | {"clientId": credential.client.id, "clientSecret": credential.client_secret}
    assert wire(out) == expected
    assert list(wire(out)) == ["merchantId", "name", "status", "createdAt", "clientId", "clientSecret"]


def test_an_issued_credential_has_the_keys_of_the_interface(database: Database, peppers: Peppers) -> None:
    _, credential = issued(database, peppers, label="ERP", expires_in=timedelta(days=1))
    out = wire(IssuedCredentialOut.of(credential))
    assert list(out) == [
        "merchantId", "clientId", "secretId", "clientSecret", "label", "createdAt", "expiresAt", "scope",
        "allowedNetworks",
    ]  # fmt: skip
    assert out == {
        "merchantId": "ACME", "clientId": credential.client.id, "secretId": credential.secret.id,
        "clientSecret": credential.client_secret, "label": "ERP", "createdAt": SHOWN,
        "expiresAt": "2026-01-03T03:04:05.678Z", "scope": "merchant", "allowedNetworks": None,
    }  # fmt: skip


def test_an_issued_credential_without_an_end_shows_null(database: Database, peppers: Peppers) -> None:
    _, credential = issued(database, peppers)
    out = wire(IssuedCredentialOut.of(credential))
    assert (out["label"], out["expiresAt"]) == (None, None)


def test_a_merchant_is_shown_with_its_clients(database: Database, peppers: Peppers) -> None:
    _, credential = issued(database, peppers)
    with database.read() as session:
        merchant, clients = service.show_merchant(session, "ACME")
    out = MerchantWithClientsOut.with_clients(merchant, clients, NOW)
    assert wire(out) == MERCHANT | {"clients": [client_of(credential)]}
    assert credential.client_secret not in out.model_dump_json()


def test_listed_credentials_have_the_keys_of_the_interface_and_no_secret(database: Database, peppers: Peppers) -> None:
    _, credential = issued(database, peppers)
    with database.write() as session:
        (client,) = service.list_credentials(session)
        client.secrets[0].last_used_at = NOW
        client.secrets[0].last_used_address = "127.0.0.1"
    out = CredentialListOut(credentials=[ClientOut.of(client, NOW)])
    used = secret_of(credential, lastUsedAt=SHOWN, lastUsedAddress="127.0.0.1")
    assert wire(out) == {"credentials": [client_of(credential, secrets=[used])]}
    assert credential.client_secret not in out.model_dump_json()
    assert credential.secret.digest.hex() not in out.model_dump_json()


def status_at(client: Client, now: datetime) -> str:
    return SecretOut.of(client.secrets[0], now).status


def test_a_secret_that_has_run_out_is_shown_as_expired(database: Database, peppers: Peppers) -> None:
    _, credential = issued(database, peppers, expires_in=timedelta(days=1))
    assert status_at(credential.client, NOW) == "active"
    assert status_at(credential.client, NOW + timedelta(hours=23, minutes=59)) == "active"
    assert status_at(credential.client, NOW + timedelta(days=1)) == "expired"


def test_a_revoked_secret_stays_shown_as_revoked(database: Database, peppers: Peppers) -> None:
    _, credential = issued(database, peppers, expires_in=timedelta(days=1))
    with database.write() as session:
        client = service.revoke_client(session, credential.client.id, by=BY)
    assert status_at(client, NOW) == status_at(client, NOW + timedelta(days=2)) == "revoked"
    assert wire(ClientOut.of(client, NOW))["status"] == "revoked"
