"""Which groups of the API a client may use, from which networks, and what its traffic says it needs.

As in `service`, an act raises the registry's revision first. What a client may do no more ends within 2 seconds for
the tokens that it has as well; where it may do more, they end, and it asks for new ones: see docs/decisions/0071.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.audit.rules import ISSUE_TOKEN, ISSUED, Actor
from ecross_server.audit.service import RecordFilter, list_sources, microseconds, record_act
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.networks import AllowedNetworks, Network, in_order, network_of
from ecross_server.merchants import repository, rules
from ecross_server.merchants.errors import ClientRevokedError
from ecross_server.merchants.models import Client
from ecross_server.merchants.service import DONE, UNCHANGED, told_networks

LOOK_BACK: Final = timedelta(days=14)
"""So far back traffic is looked at."""

NEIGHBORS_OF: Final = {4: 24, 6: 64}
"""No network that is suggested has a shorter prefix: a larger one holds others' machines as well."""

MANY_ADDRESSES: Final = 4
"""So many IPv4 addresses of a network of 256 are suggested as that network: more of them are to be expected."""

INSIDE: Final = AllowedNetworks.of([
    ipaddress.ip_network(text)
    for text in (
        "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16",
        "::1/128", "fc00::/7", "fe80::/10",
    )
])  # fmt: skip
"""Addresses that mean something within one network only (RFC 1918, 3927, 4193, 4291, 6598)."""

DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a client was seen to do from one address: tokens that it was given, or calls that needed the scope.

    Of calls only the day is known, and of an IPv6 address that made them its network of 64 bits.
    """

    address: str
    scope: str | None
    tokens: int
    calls: int
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Restriction:
    """What a client is limited to, and what of its traffic since then that refuses.

    `ends_tokens` tells that it may do more than before, which the tokens that it has do not say.
    """

    client: Client
    scope: str
    networks: str | None
    ends_tokens: bool
    since: datetime
    refused: list[Traffic]


@dataclass(frozen=True, slots=True)
class SuggestedNetwork:
    """A network that traffic came from: from so many addresses that are told apart, so many tokens and calls."""

    network: str
    addresses: int
    tokens: int
    calls: int
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What would have been enough for a client's traffic. `scope` is None where no calls were seen.

    `networks` are None where no list of them would do: traffic came from more than a list may have, or from nowhere
    that can be named. `hides_callers` tells that addresses are those of private networks: of a proxy, perhaps.
    """

    client: Client
    since: datetime
    first_seen_at: datetime | None
    last_seen_at: datetime | None
    tokens: int
    calls: int
    scope: str | None
    sources: list[SuggestedNetwork]
    networks: tuple[str, ...] | None
    hides_callers: bool


def plan_restriction(
    session: Session,
    client_id: str,
    *,
    now: datetime,
    scope: str | None = None,
    networks: Sequence[str] | None = None,
    any_address: bool = False,
) -> Restriction:
    """What would come of `restrict_client`. It looks through two weeks of traffic, so not where an act holds others up.

    Raises:
        ClientNotFoundError, ClientRevokedError, InvalidInputError: as `restrict_client`.
    """
    client = repository.get_client(session, client_id)
    new_scope, new_networks = _limits(client, scope, networks, any_address=any_address)
    allowance = rules.allowance_of(new_scope, new_networks)
    traffic, _ = _read_traffic(session, client_id, now - LOOK_BACK)
    refused = [each for each in traffic if _refuses(allowance, each)]
    return Restriction(
        client=client,
        scope=new_scope,
        networks=new_networks,
        ends_tokens=_ends_tokens(client, new_scope),
        since=now - LOOK_BACK,
        refused=refused,
    )


def restrict_client(
    session: Session,
    client_id: str,
    *,
    now: datetime,
    by: Actor,
    scope: str | None = None,
    networks: Sequence[str] | None = None,
    any_address: bool = False,
) -> Client:
    """Limit a client to a scope, to networks, or to neither any more; what is not given stays as it is.

    Raises:
        ClientNotFoundError: if there is no such client.
        ClientRevokedError: if it is revoked.
        InvalidInputError: for a scope or networks of the wrong form, networks beside `any_address`, and for nothing.
    """
    revision = repository.raise_revision(session)
    client = repository.get_client(session, client_id)
    new_scope, new_networks = _limits(client, scope, networks, any_address=any_address)
    told = {"scope": new_scope, "scopeBefore": client.scope}
    for name, texts in (("networks", new_networks), ("networksBefore", client.allowed_networks)):
        told |= {name: "any"} if texts is None else told_networks(texts, name)
    outcome = UNCHANGED
    if (new_scope, new_networks) != (client.scope, client.allowed_networks):
        outcome = DONE
        if _ends_tokens(client, new_scope):
            client.epoch += 1
        client.scope, client.allowed_networks = new_scope, new_networks
        client.revision = revision
    record_act(
        session, actor=by, action="credentials.limit", merchant_id=client.merchant_id, client_id=client_id, now=now,
        outcome=outcome, **told,
    )  # fmt: skip
    return client


def suggest_restrictions(session: Session, client_id: str, *, now: datetime) -> Suggestion:
    """What would have been enough for the client's traffic of the last two weeks.

    Raises:
        ClientNotFoundError: if there is no such client.
    """
    client = repository.get_client(session, client_id)
    since = now - LOOK_BACK
    traffic, first_seen_at = _read_traffic(session, client_id, since)
    asked = {each.scope for each in traffic if each.scope is not None}
    sources, is_whole = _sources(traffic)
    networks = tuple(each.network for each in sources)
    return Suggestion(
        client=client,
        since=since,
        first_seen_at=first_seen_at,
        last_seen_at=max((each.last_seen_at for each in traffic), default=None),
        tokens=sum(each.tokens for each in traffic),
        calls=sum(each.calls for each in traffic),
        scope=rules.read_scope(" ".join(asked)) if asked else None,
        sources=sources,
        networks=networks if is_whole and 0 < len(networks) <= rules.MOST_NETWORKS else None,
        hides_callers=any(INSIDE.touch(ipaddress.ip_network(network)) for network in networks),
    )


def _limits(
    client: Client, scope: str | None, networks: Sequence[str] | None, *, any_address: bool
) -> tuple[str, str | None]:
    """The scope and the networks as they are to be kept."""
    if client.status == "revoked":
        raise ClientRevokedError(client.id)
    if any_address and networks is not None:
        message = "cannot stand beside --allow"
        raise InvalidInputError(f"allow-any {message}", (Fault("allow-any", message),))
    if scope is None and networks is None and not any_address:
        message = "is missing, and so is allow: name what is to be changed"
        raise InvalidInputError(f"scope {message}", (Fault("scope", message),))
    new_scope = client.scope if scope is None else rules.read_scope(scope)
    if networks is not None:
        return new_scope, rules.read_networks(networks)
    return new_scope, None if any_address else client.allowed_networks


def _ends_tokens(client: Client, new_scope: str) -> bool:
    """Whether it may do more than before, which the tokens that it has do not say."""
    return rules.common_scopes(client.scope, new_scope) != frozenset(new_scope.split())


def _refuses(allowance: rules.Allowance, traffic: Traffic) -> bool:
    if traffic.scope is not None and not rules.allows(frozenset(allowance.scope.split()), traffic.scope):
        return True
    if allowance.networks is None:
        return False
    network = network_of(traffic.address)
    return network is None or not allowance.networks.touch(network)


def _read_traffic(session: Session, client_id: str, since: datetime) -> tuple[list[Traffic], datetime | None]:
    """All that was seen since the instant, and when the first of it was."""
    chosen = RecordFilter(since=microseconds(since), client_id=client_id, action=ISSUE_TOKEN, outcome=ISSUED)
    given = list_sources(session, chosen)
    first_day = rules.day_of(since.timestamp())
    traffic = [Traffic(each.address, None, each.records, 0, each.last_at) for each in given]
    traffic += [
        Traffic(each.address, each.scope, 0, each.calls, _day(each.last_day))
        for each in repository.sum_daily_calls(session, client_id, first_day)
    ]
    first_call = repository.find_first_call_day(session, client_id, first_day)
    firsts = [each.first_at for each in given] + ([] if first_call is None else [_day(first_call)])
    return traffic, min(firsts, default=None)


def _sources(traffic: Iterable[Traffic]) -> tuple[list[SuggestedNetwork], bool]:
    """The networks that all of it came from, and whether they can be told of all of it."""
    hosts: dict[Network, dict[Network, list[Traffic]]] = defaultdict(lambda: defaultdict(list))
    is_whole = True
    for each in traffic:
        network = network_of(each.address)
        if network is None:
            is_whole = False
            continue
        prefix = NEIGHBORS_OF[network.version]
        around = network if network.prefixlen <= prefix else network.supernet(new_prefix=prefix)
        hosts[around][network].append(each)
    seen: dict[Network, tuple[int, list[Traffic]]] = {}
    for around, within in hosts.items():
        if around.version == 6 or len(within) >= MANY_ADDRESSES:  # noqa: PLR2004 - the version of IP
            seen[around] = len(within), [each for several in within.values() for each in several]
        else:
            seen |= {network: (1, several) for network, several in within.items()}
    return [
        SuggestedNetwork(
            network=str(network),
            addresses=seen[network][0],
            tokens=sum(each.tokens for each in seen[network][1]),
            calls=sum(each.calls for each in seen[network][1]),
            last_seen_at=max(each.last_seen_at for each in seen[network][1]),
        )
        for network in in_order(seen)
    ], is_whole


def _day(number: int) -> datetime:
    return datetime.fromtimestamp(number * DAY_SECONDS, UTC)
