"""Ways around the prefix that makes a path private, and places for a token where none is looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

if TYPE_CHECKING:
    from tests.attacks.conftest import Forge, Wire

PATHS = [
    "/ext/merchant/skus", "//ext/merchant/skus", "///ext///merchant///skus", "/./ext/merchant/skus",
    "/ext/./merchant/skus", "/x/../ext/merchant/skus", "/token/../ext/merchant/skus", "/health/../ext/merchant/skus",
    "/docs/../ext/merchant/skus", "/docs/%2e%2e/ext/merchant/skus", "/docs/..%2fext%2fmerchant%2fskus",
    "/ext/../ext/merchant/skus", "/ext/../token", "/ext/..", "/ext/%2e%2e/health/live", "/%65xt/merchant/skus",
    "/%65%78%74/%6d%65rchant/skus", "/e%78t%2fmerchant/skus", "/ext%2fmerchant%2fskus", "/ext%2Fmerchant/skus",
    "/%2fext/merchant/skus", "/%2f%2fext/merchant/skus", "/ext%252fmerchant/skus", "/%2565xt/merchant/skus",
    "/ext;x/merchant/skus", "/ext;/merchant/skus", "/;/ext/merchant/skus", "/ext/merchant/skus;x", "/EXT/merchant/skus",
    "/Ext/Merchant/Skus", "/ext%00/merchant/skus", "/ext/merchant/skus%00", "/%00/ext/merchant/skus",
    "/ext/merchant/skus/", "/ext/merchant/skus//", "/ext/merchant/skus.json", "/ext/merchant/skus%20",
    "/ext/merchant/skus%0a", "/%20ext/merchant/skus", "/ext%20/merchant/skus", "/%09ext/merchant/skus",
    "/ext%5cmerchant%5cskus", "/%5cext/merchant/skus", "/ext/merchant/skus%3fx", "/ext/merchant/skus?x=/token",
    "/?/ext/merchant/skus", "/token?/ext/merchant/skus", "/ext/merchant/skus%23", "/ext%e2%81%84merchant/skus",
    "/%ef%bd%85xt/merchant/skus", "/ext%ef%bc%8fmerchant/skus", "/%c0%afext/merchant/skus", "/%u0065xt/merchant/skus",
    "/ext/merchant/%73kus", "/ext/merchant%2fskus", "/ext/merchant/..%2fmerchant/skus", "/api/ext/merchant/skus",
    "/ext:80/merchant/skus", "/@ext/merchant/skus", "/ext//merchant/skus", "/ext/merchant//skus",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get"]
MARK = "PRIVATE-MARK"


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_gives_private_data_to_a_stranger(forge: Forge, path: str) -> None:
    url = httpx2.URL("http://testserver").copy_with(raw_path=path.encode())
    for method in METHODS:
        request = forge.client.build_request(method.upper(), url)
        request.method = method
        answer = forge.client.send(request)
        assert answer.status_code in {400, 401, 404, 405, 415}, method  # the last from /token
        assert MARK not in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_nor_does_it_on_a_socket(wire: Wire, path: str) -> None:
    request = "GET {} HTTP/1.1\r\nHost: x\r\nX-Request-Id: last\r\n\r\n"
    for target in (path, f"http://evil.test{path}"):
        answers = wire.talk(request.format(target).encode())
        assert len(answers.statuses) == 1
        assert answers.statuses[0] in {400, 401, 404, 405}
        assert b"merchantId" not in answers.raw
    assert b"merchantId" in wire.talk(request.format(PATHS[0]).encode().replace(b"X-Req", wire.bearer + b"X-Req")).raw


AUTHORIZATIONS = {
    "two headers": "Authorization: Bearer {t}\r\nAuthorization: Bearer {t}",
    "two headers, one of another scheme": "Authorization: Basic YTpi\r\nAuthorization: Bearer {t}",
    "two headers, one empty": "Authorization:\r\nAuthorization: Bearer {t}",
    "two headers in two cases": "authorization: Bearer {t}\r\nAUTHORIZATION: Bearer {t}",
    "two in one": "Authorization: Bearer {t}, Bearer {t}",
    "another scheme before it": "Authorization: Basic YTpi, Bearer {t}",
    "another scheme behind it": "Authorization: Bearer {t}, Basic YTpi",
    "a parameter": 'Authorization: Bearer token="{t}"',
    "a parameter behind it": "Authorization: Bearer {t}; a=b",
    "quotes": 'Authorization: Bearer "{t}"',
    "a tab": "Authorization: Bearer\t{t}",
    "a fold": "Authorization: Bearer\r\n {t}",
    "a fold before it": "Authorization:\r\n Bearer {t}",
    "a vertical tab": "Authorization: Bearer\x0b{t}",
    "a no-break space": "Authorization: Bearer\xa0{t}",
    "no space": "Authorization: Bearer{t}",
    "no scheme": "Authorization: {t}",
    "the scheme twice": "Authorization: Bearer Bearer {t}",
    "a look-alike of the scheme": "Authorization: Be\u0430rer {t}",
    "an equals sign": "Authorization: Bearer={t}",
    "space before the colon": "Authorization : Bearer {t}",
    "space before the name": " Authorization: Bearer {t}",
    "an underscore": "HTTP_AUTHORIZATION: Bearer {t}",
    "a look-alike of the name": "Authorizat\u0456on: Bearer {t}",
    "another name": "X-Authorization: Bearer {t}",
    "a proxy's name": "Proxy-Authorization: Bearer {t}",
    "a forwarded name": "X-Forwarded-Authorization: Bearer {t}",
    "a cookie": "Cookie: access_token={t}; token={t}; Authorization=Bearer {t}",
    "a websocket's protocol": "Sec-WebSocket-Protocol: bearer, {t}",
    "a referer": "Referer: http://x/?access_token={t}",
}


@pytest.mark.parametrize("place", AUTHORIZATIONS)
def test_a_good_token_in_any_other_form_or_place_opens_nothing(wire: Wire, place: str) -> None:
    token = wire.bearer.decode().split()[2]
    line = AUTHORIZATIONS[place].format(t=token).encode("utf-8")
    answers = wire.talk(b"GET /ext/merchant/skus HTTP/1.1\r\nHost: x\r\n%b\r\nX-Request-Id: last\r\n\r\n" % line)
    assert len(answers.statuses) == 1
    assert answers.statuses[0] in {400, 401}
    assert b"merchantId" not in answers.raw
    assert token.encode() not in answers.raw


@pytest.mark.parametrize("name", ["access_token", "token", "Authorization", "bearer", "jwt"])
def test_a_good_token_in_the_query_or_the_body_opens_nothing(forge: Forge, name: str) -> None:
    token = forge.token().decode()
    for value in (token, f"Bearer {token}"):
        for answer in (
            forge.client.get(PATHS[0], params={name: value}),
            forge.client.request("GET", PATHS[0], json={name: value}),
            forge.client.request("GET", PATHS[0], content=f"{name}={value}",
            headers={"Content-Type": "application/x-www-form-urlencoded"}),
            forge.client.get(f"{PATHS[0]}/{value}"),
            forge.client.get(PATHS[0], headers={"Cookie": f"{name}={value}"}),
        ):  # fmt: skip
            assert answer.status_code == 401
            assert MARK not in answer.text
            assert token not in answer.text


@pytest.mark.parametrize(
    "form", ["Bearer {t}", "bearer {t}", "BEARER {t}", "BeArEr   {t}", "\tBearer {t}\t", " Bearer {t} "]
)
def test_the_forms_that_the_standard_allows_open(wire: Wire, form: str) -> None:
    line = b"Authorization:" + form.format(t=wire.bearer.decode().split()[2]).encode()
    answers = wire.talk(b"GET /ext/merchant/skus HTTP/1.1\r\nHost: x\r\n%b\r\nX-Request-Id: last\r\n\r\n" % line)
    assert answers.statuses == [200]
