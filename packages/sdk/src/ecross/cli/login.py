"""`ecross login` and `ecross logout`: credentials that this user's commands and programs find by themselves."""

import os
import time
from typing import Final, TypedDict

from ecross._auth.answers import read_grant
from ecross._configuration import (
    SERVICES,
    Endpoints,
    Profile,
    SecretPlace,
    StoredSecret,
    remove_profile,
    store_profile,
)
from ecross._configuration.credentials import checked_text
from ecross._configuration.endpoints import ENVIRONMENTS, endpoints_of_base_url, endpoints_of_environment
from ecross._configuration.loading import BASE_URL_VARIABLE, CLIENT_ID_VARIABLE, ENVIRONMENT_VARIABLE, PROFILE_VARIABLE
from ecross._configuration.profiles import DEFAULT_PROFILE
from ecross._token_cache import open_default_cache
from ecross._transport.senders import Sender
from ecross.cli.failures import UsageError
from ecross.cli.output import hide, plain, print_json, say, warn
from ecross.cli.prompts import ask, ask_secret, read_secret
from ecross.cli.session import find_profile, told_variables
from ecross.errors import ApiError

CHECK_SECONDS: Final = 30.0


class Addresses(TypedDict, total=False):
    """Where the server is, as a profile keeps it: one of these."""

    base_url: str
    base_urls: dict[str, str]
    environment: str


def log_in(
    profile: str | None,
    *,
    base_url: str | None,
    environment: str | None,
    client_id: str | None,
    from_stdin: bool,
    is_checked: bool,
    as_json: bool,
) -> None:
    """Store credentials, asking a person for what was not told. Raises `EcrossError`; then nothing is stored."""
    name = profile_name(profile)
    before = find_profile(name)
    endpoints, addresses = _server(base_url, environment, before)
    told_id = client_id or os.environ.get(CLIENT_ID_VARIABLE) or ask(
        "Client id", default=None if before is None else before.client_id, instead="Give --client-id."
    )  # fmt: skip
    checked_text(told_id, "The client id")
    secret = read_secret() if from_stdin else ask_secret("Client secret", instead="Send it to --secret-stdin.")
    hide(checked_text(secret, "The client secret"))
    if is_checked:
        check_credentials(endpoints, told_id, secret)
    stored = store_profile(name, client_id=told_id, client_secret=secret, **addresses)
    if as_json:
        print_json(
            {
                "profile": name, "clientId": told_id, "server": endpoints.auth, "isChecked": is_checked,
                "secretPlace": stored.place.value, "secretFile": stored.path and str(stored.path),
                "whyNotKeyring": stored.why_not_better,
            }
        )  # fmt: skip
    else:
        state = "Logged in" if is_checked else "Stored, unchecked"
        say(f"{state}: {plain(told_id)} at {endpoints.auth}, profile {name}.")
        say(place_of(stored))
    warn_of_variables()


def log_out(profile: str | None, *, as_json: bool) -> None:
    """Forget a profile, its secret and its cached token; that there is none is no error."""
    name = profile_name(profile)
    found = find_profile(name)
    if found is not None:
        remove_profile(name)
        _forget_token(found)
    if as_json:
        print_json({"profile": name, "wasThere": found is not None})
    elif found is None:
        say(f"There is no profile {plain(name)}, so nothing was to be forgotten.")
    else:
        say(f"Logged out: the profile {plain(name)}, its client secret and its cached token are forgotten.")
    warn_of_variables()


def profile_name(told: str | None) -> str:
    """The profile that is meant."""
    return told or os.environ.get(PROFILE_VARIABLE) or DEFAULT_PROFILE


def check_credentials(endpoints: Endpoints, client_id: str, client_secret: str) -> None:
    """Ask for a token once, past every cache: nothing is kept of it. Raises the error that the answer means."""
    sender = Sender(
        transport=None, token_url=f"{endpoints.auth}/token", client_id=client_id, client_secret=client_secret,
        timeout_seconds=CHECK_SECONDS,
    )  # fmt: skip
    try:
        outcome = read_grant(sender.ask_for_token(), hidden=(client_secret,), now=time.time())
    finally:
        sender.close()
    if isinstance(outcome, ApiError):
        raise outcome


def _server(base_url: str | None, environment: str | None, before: Profile | None) -> tuple[Endpoints, Addresses]:
    if not base_url and not environment:
        base_url, environment = os.environ.get(BASE_URL_VARIABLE), os.environ.get(ENVIRONMENT_VARIABLE)
    if base_url and environment:
        raise UsageError("A base URL and an environment contradict each other. Tell one of them.")
    if not base_url and not environment:
        known = None if before is None else before.endpoints
        default = None if known is None else _spelled(known)
        told = ask("Server (its base URL, or production)", default=default, instead="Give --base-url or --environment.")
        if known is not None and told == default:
            return known, _kept(known)
        base_url, environment = (None, told) if told in ENVIRONMENTS else (told, None)
    if base_url:
        return endpoints_of_base_url(base_url, "The base URL"), {"base_url": base_url}
    return endpoints_of_environment(environment, "The environment"), {"environment": str(environment)}


def _spelled(endpoints: Endpoints) -> str:
    return next((name for name, published in ENVIRONMENTS.items() if published == endpoints), endpoints.auth)


def _kept(endpoints: Endpoints) -> Addresses:
    if endpoints in ENVIRONMENTS.values():
        return {"environment": _spelled(endpoints)}
    urls = {service: getattr(endpoints, service) for service in SERVICES}
    if set(urls.values()) == {endpoints.auth}:
        return {"base_url": endpoints.auth}
    return {"base_urls": {service: url for service, url in urls.items() if url is not None}}


def place_of(stored: StoredSecret) -> str:
    """Where the secret is, for people."""
    if stored.place is SecretPlace.KEYRING:
        return "The client secret is in the keyring of the operating system."
    return f"The client secret is in {stored.path}, which only you can read. {stored.why_not_better}"


def _forget_token(profile: Profile) -> None:
    if profile.client_id is not None and profile.endpoints is not None:
        open_default_cache().remove(profile.endpoints.auth, profile.client_id)


def warn_of_variables() -> None:
    """Tell which variables come before what is stored."""
    told = told_variables()
    if told:
        warn(f"note: {', '.join(told)} in the environment {'comes' if len(told) == 1 else 'come'} before any profile.")
