"""The token goes under the configured base URLs and nowhere else."""

import pytest

from ecross._configuration import Endpoints
from ecross._transport.addresses import Addresses
from ecross.errors import ConfigurationError

BASE = "https://api.example.com:8443/e-cross"
ONE = Addresses(Endpoints(BASE, BASE, BASE, BASE))
AUTH_ALONE = Addresses(Endpoints("https://auth.example.com", None, None, None))


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/", "/"),
        ("/ext/merchant/skus", "/ext/merchant/skus"),
        ("/ext/inventories/", "/ext/inventories/"),
        ("/ext/skus/a%2Fb", "/ext/skus/a%2Fb"),
        ("/ext/skus/é|", "/ext/skus/%C3%A9%7C"),
        ("/ext/skus/..a/...", "/ext/skus/..a/..."),
        ("/ext/skus/a@evil.example", "/ext/skus/a@evil.example"),
        ("/ext/https://evil.example", "/ext/https://evil.example"),
    ],
)
def test_a_path_is_joined_to_the_base_url(path: str, url: str) -> None:
    assert ONE.join("product", path) == BASE + url
    ONE.check(BASE + url)


HOSTILE_PATHS = [
    "", "ext", "//evil.example/x", "https://evil.example/", "@evil.example/", ":80/", "/..", "/../x", "/x/..",
    "/x/../y", "/./x", "/%2e%2e/x", "/%2E%2e/x", "/.%2e/x", "/%252e%252e/x", "/%25252e%25252e/x", "/%2525252525252e",
    "/x%2f..%2fy",
    "/x%5c..%5cy", "/..;/x", "/..;a=b/x", "/%2e%2e%3b/x", "/x\\..\\y", "\\\\evil.example", "/\\evil.example", "/x?a=b",
    "/x#y", "/x y", "/x\n", "/x\r\nHost: evil.example", "/x\t", "/x\x00", "/x\x7f", "/\ud800",
]  # fmt: skip


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="path must") as caught:
        ONE.join("product", path)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("service", ["", "catalog", "PRODUCT", "url_of", "__class__"])
def test_an_unknown_service_is_refused(service: str) -> None:
    with pytest.raises(ConfigurationError, match="service must be one of auth, product, order, hermes"):
        ONE.join(service, "/x")


@pytest.mark.parametrize("service", ["product", "order", "hermes"])
def test_a_service_whose_address_was_not_told_is_refused(service: str) -> None:
    with pytest.raises(ConfigurationError, match=f"ECROSS_{service.upper()}_URL"):
        AUTH_ALONE.join(service, "/x")
    with pytest.raises(ConfigurationError, match="configured base URLs"):
        AUTH_ALONE.check(f"https://{service}.example.com/x")


@pytest.mark.parametrize(
    "url",
    [
        BASE,
        BASE + "/x",
        BASE + "/x/../y",
        BASE + "/x?next=../../y&to=https://evil.example",
        BASE + "/x#../../y",
        "https://API.Example.com:8443/e-cross/x",
        "HTTPS://api.example.com:8443/e-cross/x",
    ],
)
def test_an_address_under_a_base_url_is_admitted(url: str) -> None:
    ONE.check(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/e-cross/x",
        "api.example.com:8443/e-cross/x",
        "//api.example.com:8443/e-cross/x",
        "http://api.example.com:8443/e-cross/x",
        "ftp://api.example.com:8443/e-cross/x",
        "https:api.example.com:8443/e-cross/x",
        "https:/api.example.com:8443/e-cross/x",
        "https:///api.example.com:8443/e-cross/x",
        "https://api.example.com/e-cross/x",
        "https://api.example.com:8444/e-cross/x",
        "https://api.example.com.:8443/e-cross/x",
        "https://evil.api.example.com:8443/e-cross/x",
        "https://api.example.com.evil.example:8443/e-cross/x",
        "https://api.example.com:8443@evil.example/e-cross/x",
        "https://user:word@api.example.com:8443/e-cross/x",
        "https://evil.example\\@api.example.com:8443/e-cross/x",
        "https://api.example.com:8443\\@evil.example/e-cross/x",
        "https://evil.example#@api.example.com:8443/e-cross/x",
        "https://evil.example?@api.example.com:8443/e-cross/x",
        "https://\u0430pi.example.com:8443/e-cross/x",
        "https://api.example.com:8443",
        "https://api.example.com:8443/",
        "https://api.example.com:8443/e-crossx",
        "https://api.example.com:8443/e-cross%2Fx",
        "https://api.example.com:8443/e-cross%00/x",
        "https://api.example.com:8443/E-CROSS/x",
        "https://api.example.com:8443//e-cross/x",
        BASE + "/../x",
        BASE + "/x/../../y",
        BASE + "/%2e%2e/x",
        BASE + "/%252e%252e/x",
        BASE + "/..;/x",
        BASE + "/..%2fx",
        BASE + "/..\\x",
        BASE + "/x y",
        BASE + "/x\n",
        BASE + "/\x00",
        BASE + "/\ud800",
        "https://api.example.com:99999/e-cross",
        "https://[::1/x",
    ],
)
def test_an_address_elsewhere_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ONE.check(url)
    assert str(caught.value) == "The access token is for the configured base URLs alone; this request goes elsewhere."
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.example.com", "https://api.example.com:443/x"),
        ("https://api.example.com:443", "https://api.example.com/x"),
        ("http://localhost", "http://localhost:80/x"),
        ("https://xn--bcher-kva.example", "https://bücher.example/x"),
        ("http://[::1]:8000", "http://[::1]:8000/x"),
    ],
)
def test_two_spellings_of_one_origin_are_the_same(base: str, url: str) -> None:
    addresses = Addresses(Endpoints(base, base, base, base))
    addresses.check(url)
    addresses.check(base)


def test_the_token_is_asked_for_under_the_auth_url() -> None:
    assert ONE.token_url == BASE + "/token"
