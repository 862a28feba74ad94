"""Authlib's authorization server in Flask, as its documentation shows it: client credentials, JWT access tokens."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import Any, Final

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from flask import Flask, Response
from joserfc.jwk import OctKey

LIFETIME_SECONDS: Final = 28_800
AUDIENCE: Final = "urn:ecross:api"


class Client(ClientMixin):  # type: ignore[misc] # the peers' libraries are not in the environment that is checked
    """The one client, and the SHA-256 of its secret."""

    def __init__(self, client_id: str, secret_sha256: bytes) -> None:
        self._client_id = client_id
        self._secret_sha256 = secret_sha256

    def get_client_id(self) -> str:
        """Its id."""
        return self._client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        """What it is allowed of what it asks for."""
        return scope or ""

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether this is its secret."""
        return hmac.compare_digest(hashlib.sha256(client_secret.encode()).digest(), self._secret_sha256)

    def check_endpoint_auth_method(self, method: str, _endpoint: str) -> bool:
        """Whether it may send its secret so."""
        return bool(method == "client_secret_post")

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether it may ask in this way."""
        return bool(grant_type == "client_credentials")


class Grant(ClientCredentialsGrant):  # type: ignore[misc] # likewise
    """Client credentials in the body."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_post",)


class TokenGenerator(JWTBearerTokenGenerator):  # type: ignore[misc] # likewise
    """JWTs signed with HS256."""

    def __init__(self, key: bytes) -> None:
        super().__init__("http://127.0.0.1", alg="HS256", expires_generator=lambda *_: LIFETIME_SECONDS)
        self._key = OctKey.import_key(key)

    def get_jwks(self) -> OctKey:
        """The key."""
        return self._key

    def get_audiences(self, _client: Client, _user: object, _scope: str) -> str:
        """Who the token is for."""
        return AUDIENCE


def make_app() -> Flask:
    """The application. Nothing is stored: a signed token needs no row."""
    client = Client(os.environ["PEER_CLIENT_ID"], bytes.fromhex(os.environ["PEER_SECRET_SHA256"]))
    clients = {client.get_client_id(): client}
    flask_app = Flask(__name__)
    server: Any = AuthorizationServer(flask_app, query_client=clients.get, save_token=lambda *_: None)
    server.register_grant(Grant)
    server.register_token_generator("default", TokenGenerator(bytes.fromhex(os.environ["PEER_SIGNING_KEY"])))

    @flask_app.post("/token")
    def issue_token() -> Response:
        response: Response = server.create_token_response()
        return response

    return flask_app


app = make_app()
