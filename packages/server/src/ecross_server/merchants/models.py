"""The tables of merchants, clients and secrets."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from ecross_server.kit.database import Base, UtcDateTime


class Merchant(Base):
    """The tenant that sells."""

    __tablename__ = "merchants"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))  # active, disabled
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    clients: Mapped[list[Client]] = relationship(back_populates="merchant", order_by="Client.created_at, Client.id")


class Client(Base):
    """One set of credentials' name. Its epoch stands in every token; raising it ends them all."""

    __tablename__ = "clients"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"), index=True)
    status: Mapped[str] = mapped_column(String(16))  # active, revoked
    scope: Mapped[str] = mapped_column(Text)  # words of rules.SCOPES, in their order
    allowed_networks: Mapped[str | None] = mapped_column(Text)  # in order, a space between; NULL: any address
    epoch: Mapped[int] = mapped_column(Integer)
    revision: Mapped[int] = mapped_column(BigInteger, index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)

    merchant: Mapped[Merchant] = relationship(back_populates="clients")
    secrets: Mapped[list[Secret]] = relationship(back_populates="client", order_by="Secret.created_at, Secret.id")


class Secret(Base):
    """What is kept of a client secret: its digest under a pepper, never the secret."""

    __tablename__ = "secrets"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id"), index=True)
    label: Mapped[str | None] = mapped_column(Text)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    pepper_id: Mapped[str] = mapped_column(String(32))
    # active, retired, revoked; expired once nothing could open with it again, else one that has run out stays active
    status: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    retires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # as planned; it ends at the earlier of the two
    first_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # None also if it was used before this was kept
    first_used_address: Mapped[str | None] = mapped_column(String(64))
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_used_address: Mapped[str | None] = mapped_column(String(64))

    client: Mapped[Client] = relationship(back_populates="secrets")


class SecretUse(Base):
    """So many tokens were given for a secret in an hour, which is told by its number since 1970.

    Kept for a week; the secret's row says when the last was.
    """

    __tablename__ = "secret_uses"

    secret_id: Mapped[str] = mapped_column(String(32), primary_key=True)
    hour: Mapped[int] = mapped_column(BigInteger, primary_key=True, index=True)
    tokens: Mapped[int] = mapped_column(BigInteger)


class ClientCall(Base):
    """So many calls a client made on a day, told by its number since 1970, that needed a scope, from an address.

    An IPv6 address is told by its network of 64 bits. Kept for two weeks.
    """

    __tablename__ = "client_calls"

    client_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    day: Mapped[int] = mapped_column(Integer, primary_key=True, index=True)
    scope: Mapped[str] = mapped_column(String(64), primary_key=True)
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    calls: Mapped[int] = mapped_column(BigInteger)


class RegistryRevision(Base):
    """One row: the number of the last change that a registry must take over.

    A writer raises it and stamps the changed clients with it. The row's lock is held until the commit, so revisions
    become visible in their order and a reader that has seen one has seen all before it.
    """

    __tablename__ = "registry_revision"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)
