"""Authentication for those who send with the `requests` library: install `ecross[requests]`."""

from typing import Any, NoReturn

from requests.auth import AuthBase
from requests.models import PreparedRequest, Response

from ecross._client import Client
from ecross.errors import ConfigurationError
from ecross.types import AccessToken

__all__ = ["EcrossAuth"]

_UNAUTHORIZED = 401


class EcrossAuth(AuthBase):
    """Adds a client's access token to the requests of a `requests.Session`; may be shared among threads.

    After a 401 the request is sent once more with a new token, if its body can be. A request that goes elsewhere than
    the client's base URLs is not sent: `ConfigurationError`. Where a redirect is followed, it is without the token.
    """

    def __init__(self, client: Client) -> None:
        if not isinstance(client, Client):
            raise ConfigurationError("requests sends from threads: give a Client, not an AsyncClient")
        self._client = client

    def __repr__(self) -> str:
        return f"EcrossAuth({self._client!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an EcrossAuth is neither copied nor pickled: it holds a client")

    def __call__(self, r: PreparedRequest) -> PreparedRequest:
        """Called by `requests` for each request."""
        token = self._client.token_for(r.url or "")
        r.headers["Authorization"] = f"Bearer {token.value}"
        first_url = r.url

        def look_at(response: Response, **options: Any) -> Response:  # noqa: ANN401 - what the session was given
            # A redirect keeps this hook; a 401 of its target, which may be a stranger, says nothing about the token.
            if response.status_code == _UNAUTHORIZED and response.request.url == first_url:
                response = self._send_again(response, token, options)
            if response.is_redirect:
                # The library makes the next request of this one, and keeps its token for the same host.
                response.request.headers.pop("Authorization", None)
            return response

        r.register_hook("response", look_at)  # type: ignore[no-untyped-call]  # the library's own
        return r

    def _send_again(self, response: Response, token: AccessToken, options: dict[str, Any]) -> Response:
        request = response.request
        body: object = request.body  # also a stream, which the library's types do not tell
        if not isinstance(body, (bytes, str, type(None))):
            self._client.note_rejected(token)
            return response
        newer = self._client.token_after(token)
        if newer is None:
            return response
        response.content  # noqa: B018 - read, so that the connection can be used again
        response.close()
        request.headers["Authorization"] = f"Bearer {newer.value}"
        second: Response = response.connection.send(request, **options)
        second.history.append(response)
        if second.status_code == _UNAUTHORIZED:
            self._client.note_rejected(newer, is_second=True)
        return second
