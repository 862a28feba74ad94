"""The clients, each used as its own documentation shows. Run as a program in the environment of one of them.

`python contestants.py NAME WORK URL` does the work and prints what came of it as JSON. It imports nothing of this
repository but, for ours, the client: the others' environment has no more.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Final

AUTHORITY: Final = "https://identity.example/tenant"
"""MSAL speaks to https alone; its calls are led to the server on this machine."""

CLIENT_ID: Final = "acme-abcdefghjkmnp"
SECRET: Final = "not-a-secret"  # noqa: S105 - of no server
THREADS: Final = 50
RATE_SECONDS: Final = 3.0

Call = Callable[[], int]
"""Makes one call and gives the answer's status."""


def ecross(url: str) -> Call:
    """Ours."""
    from ecross import Client  # noqa: PLC0415 - each client is there in its own environment only
    from ecross.errors import UnauthorizedError  # noqa: PLC0415

    client = Client(client_id=CLIENT_ID, client_secret=SECRET, base_url=url)

    def call() -> int:
        try:
            return client.request("GET", "/call").status_code
        except UnauthorizedError as error:
            return error.status

    return call


def ecross_auth(url: str) -> Call:
    """Ours, as authentication of an `httpx2.Client`."""
    import httpx2  # noqa: PLC0415

    from ecross import Client, EcrossAuth  # noqa: PLC0415

    client = Client(client_id=CLIENT_ID, client_secret=SECRET, base_url=url)
    http = httpx2.Client(auth=EcrossAuth(client))
    return lambda: http.get(url + "/call").status_code


def httpx2_alone(url: str) -> Call:
    """A token that is there already, under ours."""
    import httpx2  # noqa: PLC0415

    http = httpx2.Client()
    issued = http.post(url + "/token").json()["token"]
    headers = {"Authorization": f"Bearer {issued}"}
    return lambda: http.get(url + "/call", headers=headers).status_code


def requests_alone(url: str) -> Call:
    """A token that is there already, under Authlib, google-auth and MSAL."""
    import requests  # noqa: PLC0415

    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {session.post(url + '/token').json()['token']}"
    return lambda: session.get(url + "/call").status_code


def authlib(url: str) -> Call:
    """Authlib's session, which renews a token that is over."""
    from authlib.integrations.requests_client import OAuth2Session  # noqa: PLC0415

    over = {"access_token": "over", "token_type": "Bearer", "expires_at": 1}
    session: Any = OAuth2Session(
        CLIENT_ID, SECRET, token=over, token_endpoint=url + "/oauth/token", grant_type="client_credentials"
    )
    return lambda: int(session.get(url + "/call").status_code)


def google_auth(url: str) -> Call:
    """google-auth's session of a service account."""
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415
    from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415
    from google.oauth2.service_account import Credentials  # noqa: PLC0415

    pem = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    info = {"client_email": CLIENT_ID, "token_uri": url + "/oauth/token", "private_key": pem.decode()}
    credentials = Credentials.from_service_account_info(info, scopes=["read"])
    local = threading.local()

    def call() -> int:
        if not hasattr(local, "session"):  # its documentation: credentials may be shared by threads, sessions not
            local.session = AuthorizedSession(credentials)
        return int(local.session.get(url + "/call").status_code)

    return call


def msal(url: str) -> Call:
    """MSAL's application, whose token is put into the header of a session."""
    from msal import ConfidentialClientApplication  # noqa: PLC0415
    from requests import Session  # noqa: PLC0415

    class Here(Session):
        def request(self, method: str, address: str, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]  # noqa: ANN401
            return super().request(method, address.replace(AUTHORITY, url), *args, **kwargs)

    session = Session()
    application = ConfidentialClientApplication(
        CLIENT_ID, client_credential=SECRET, oidc_authority=AUTHORITY, http_client=Here()
    )

    def call() -> int:
        result = application.acquire_token_for_client(["read"])
        headers = {"Authorization": f"Bearer {result['access_token']}"}
        return session.get(url + "/call", headers=headers).status_code

    return call


def httpx_auth(url: str) -> Call:
    """httpx-auth's client credentials."""
    import httpx  # noqa: PLC0415
    from httpx_auth import OAuth2ClientCredentials  # noqa: PLC0415

    auth = OAuth2ClientCredentials(url + "/oauth/token", client_id=CLIENT_ID, client_secret=SECRET)
    http = httpx.Client(auth=auth)
    return lambda: int(http.get(url + "/call").status_code)


CONTESTANTS: Final[dict[str, Callable[[str], Call]]] = {
    "ecross": ecross,
    "ecross-auth": ecross_auth,
    "authlib": authlib,
    "google-auth": google_auth,
    "msal": msal,
    "httpx-auth": httpx_auth,
    "httpx2": httpx2_alone,
    "requests": requests_alone,
}


def together(call: Call) -> dict[str, object]:
    """So many threads call at once, none of which has a token."""
    begin = threading.Barrier(THREADS)
    statuses: list[int] = []

    def one() -> None:
        begin.wait()
        statuses.append(call())

    threads = [threading.Thread(target=one) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"succeeded": statuses.count(200)}


def once(call: Call) -> dict[str, object]:
    """One call, as a job of cron makes it."""
    return {"succeeded": int(call() == 200)}  # noqa: PLR2004 - a status


def rate(call: Call) -> dict[str, object]:
    """Calls one after the other for some seconds, with a token that is there already."""
    call()
    began, cpu_began = time.perf_counter(), time.process_time()
    calls = 0
    while time.perf_counter() - began < RATE_SECONDS:
        call()
        calls += 1
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu_began
    return {"per_second": calls / seconds, "cpu_us": cpu / calls * 1_000_000}


def main() -> None:
    """Do one work."""
    name, work, url = sys.argv[1:]
    call = CONTESTANTS[name](url)
    print(json.dumps({"together": together, "once": once, "rate": rate}[work](call)))


if __name__ == "__main__":
    main()
