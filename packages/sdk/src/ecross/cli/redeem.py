"""`ecross redeem`: a client secret from a one-time link straight to where it is kept. Nobody sees it."""

import re
import sys
import time
from contextlib import suppress
from typing import Any, Final, NoReturn

import httpx2

from ecross._configuration import Endpoints, remove_profile, store_profile
from ecross._configuration.credentials import checked_text
from ecross._configuration.endpoints import endpoints_of_base_url
from ecross._transport.senders import encode_json, user_agent
from ecross.cli.api import TIMEOUT, refusal, transport_error
from ecross.cli.failures import UsageError
from ecross.cli.login import check_credentials, place_of, profile_name, warn_of_variables
from ecross.cli.output import hide, plain, print_json, say, warn
from ecross.cli.prompts import ask, ask_secret
from ecross.cli.session import find_profile
from ecross.errors import ConfigurationError, EcrossError, InvalidCredentialsError, ServerError, TransportError
from ecross.jws import StrictJsonError, loads_strict

LINK: Final = re.compile(r"(?P<base>\S+)(?P<path>/hand-over/(?P<token>eho_[0-9A-Za-z]{16,64}))")
LONGEST_INPUT: Final = 16 * 1024
ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 0.7
PROBE: Final = "redeem-probe"
AFTERWARDS: Final = (
    "Open it in a browser: if it says that the secret was shown, end that secret there under 'Not you?', and ask for a "
    "new link."
)


def redeem(profile: str | None, link: str | None, *, from_stdin: bool, as_json: bool) -> None:
    """Have the secret made, and store it. Raises `EcrossError`; before the secret is made nothing is used up."""
    if from_stdin and link is not None:
        raise UsageError("Tell the link as LINK or on standard input, not both.")
    lines = _read_lines() if from_stdin else []
    told = lines[0] if lines else link or ask_secret("Link", instead="Send it to --stdin.")
    code = lines[1] if len(lines) > 1 else None
    opened = _Link(told)
    name = profile_name(profile)
    with httpx2.Client(timeout=TIMEOUT) as connections:
        facts = opened.look(connections)
        _require_place(name, facts["clientId"])
        if facts.get("needsCode") and code is None:
            code = ask("Code", default=None, instead="Send it to --stdin, on the line after the link.")
        secret = opened.reveal(connections, facts, code)
    try:
        stored = store_profile(name, client_id=facts["clientId"], client_secret=secret, base_url=opened.endpoints.auth)
    except ConfigurationError as error:
        fault = f"The secret was made but could not be stored, and is lost. {error} {AFTERWARDS}"
    else:
        is_known = _wait_until_known(opened.endpoints, facts["clientId"], secret)
        if as_json:
            print_json(
                {
                    "profile": name, "clientId": facts["clientId"], "merchantId": facts.get("merchantId"),
                    "server": opened.endpoints.auth, "isChecked": is_known, "secretPlace": stored.place.value,
                    "secretFile": stored.path and str(stored.path), "whyNotKeyring": stored.why_not_better,
                }
            )  # fmt: skip
        else:
            say(f"Redeemed: {plain(facts['clientId'])} at {opened.endpoints.auth}, profile {name}.")
            say(place_of(stored))
        if not is_known:
            warn("note: The server did not accept it yet. It knows a new secret within 2 seconds; try: ecross doctor")
        warn_of_variables()
        return
    raise ConfigurationError(fault)


class _Link:
    """A link, and what is sent to it."""

    def __init__(self, told: str) -> None:
        found = LINK.fullmatch(told.strip())
        if found is None:
            raise UsageError("This is no hand-over link. It looks like https://api.example.com/hand-over/eho_...")
        hide(found["token"])
        self.endpoints: Endpoints = endpoints_of_base_url(found["base"], "The beginning of the link")
        self._url = f"{self.endpoints.auth}{found['path']}"
        parts = httpx2.URL(self._url)
        self._origin = f"{parts.scheme}://{parts.netloc.decode()}"

    def look(self, connections: httpx2.Client) -> dict[str, Any]:
        """What the link would give."""
        facts = self._send(connections, "GET")
        if not isinstance(facts.get("nonce"), str):
            self._refuse_answer()
        checked_text(facts.get("clientId"), "The client id that the server told")
        return facts

    def reveal(self, connections: httpx2.Client, facts: dict[str, Any], code: str | None) -> str:
        """The secret. The link is used up, whatever happens from here on."""
        asked = {"act": "reveal", "nonce": facts["nonce"], "code": code or ""}
        try:
            given = self._send(connections, "POST", encode_json(asked))
        except TransportError as error:
            fault = f"{error} Whether the link is used up is not known. {AFTERWARDS}"
        else:
            secret = given.get("clientSecret")
            if isinstance(secret, str):
                hide(secret)
            if not isinstance(secret, str) or given.get("clientId") != facts["clientId"]:
                self._refuse_answer()
            return checked_text(secret, "The client secret that the server told")
        raise TransportError(fault)

    def _send(self, connections: httpx2.Client, method: str, content: bytes | None = None) -> dict[str, Any]:
        headers = {"User-Agent": user_agent(), "Accept": "application/json"}
        if content is not None:
            # What a browser says by itself of a form on its own page.
            headers |= {"Content-Type": "application/json", "Origin": self._origin}
        try:
            response = connections.request(method, self._url, headers=headers, content=content)
        except httpx2.HTTPError as error:
            fault = transport_error(error, httpx2.URL(self._url).host)
        else:
            if not response.is_success:
                raise refusal(response, response.content, hidden=(self._url,))
            with suppress(StrictJsonError):
                facts = loads_strict(response.content)
                if isinstance(facts, dict):
                    return facts
            self._refuse_answer()
        raise fault

    def _refuse_answer(self) -> NoReturn:
        raise ServerError(200, f"{self._origin} answered something else than a hand-over.")


def _wait_until_known(endpoints: Endpoints, client_id: str, client_secret: str) -> bool:
    """Ask for a token until there is one: a refusal of the next command would be remembered for a minute."""
    for _ in range(ATTEMPTS):
        time.sleep(PAUSE_SECONDS)
        try:
            check_credentials(endpoints, client_id, client_secret)
        except InvalidCredentialsError:
            continue
        except EcrossError:
            break
        return True
    return False


def _read_lines() -> list[str]:
    """The link, and perhaps the code, from standard input."""
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError("There is nothing on standard input. Leave --stdin out to be asked.")
    text = sys.stdin.buffer.read(LONGEST_INPUT).decode("utf-8-sig", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise UsageError("There is no link on standard input.")
    return lines


def _require_place(name: str, client_id: str) -> None:
    """See that a secret could be stored, before there is one."""
    before = find_profile(name)
    if before is not None and before.client_id not in {None, client_id}:
        raise UsageError(
            f"The profile {plain(name)} holds {plain(str(before.client_id))}. Name another one with --profile, or "
            "first: ecross logout"
        )
    store_profile(PROBE, client_id=client_id, client_secret="probe")  # noqa: S106 - goes where the secret will go
    remove_profile(PROBE)
