"""HS256 by a strict reading of RFC 7515, in families of vectors as public collections have them; the vectors are ours.

Each vector is a token, a key (a JWK) and whether the token is valid under it. Unless the fault is in the signature,
tokens are signed rightly over what they say: what else is wrong must be enough. The two published examples check our
own way of signing. What the standards leave open is decided in docs/decisions/0038.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from typing import Any, NamedTuple

import pytest

from ecross.jws import InvalidKeyError, InvalidTokenError, verify_compact

SECRET = bytes(range(100, 132))
PAYLOAD = b'{"iss":"joe"}'
HEADER = '{"alg":"HS256"}'
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class Vector(NamedTuple):
    name: str
    token: str
    key: dict[str, Any]


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def mac(signing_input: str, digest: str = "sha256", secret: bytes = SECRET) -> bytes:
    return hmac.digest(secret, signing_input.encode(), digest)


def sign(header: str | bytes = HEADER, payload: bytes = PAYLOAD, secret: bytes = SECRET) -> str:
    raw = header if isinstance(header, bytes) else header.encode()
    return seal(f"{encode(raw)}.{encode(payload)}", secret)


def seal(signing_input: str, secret: bytes = SECRET) -> str:
    """A right signature over whatever stands before it."""
    return f"{signing_input}.{encode(mac(signing_input, secret=secret))}"


def jwk(**members: Any) -> dict[str, Any]:
    """A good key with these members; None leaves one out."""
    return {name: it for name, it in ({"kty": "oct", "k": encode(SECRET)} | members).items() if it is not None}


def raw(header: bytes, secret: bytes = SECRET) -> str:
    return sign(header, secret=secret)


HEAD, BODY, MAC = sign().split(".")
INPUT = f"{HEAD}.{BODY}"
RIGHT = mac(INPUT)

VALID = [
    *(
        Vector(f"header: {header!r}", sign(header), jwk())
        for header in (
            '{"alg":"HS256"}', '{"alg":"HS256","typ":"JWT"}', '{"typ":"JWT","alg":"HS256"}', ' { "alg" : "HS256" } ',
            '{\r\n\t"alg":\r\n\t"HS256"\r\n}\r\n', '{"\\u0061lg":"HS256"}', '{"alg":"\\u0048\\u0053256"}',
            '{"alg":"HS256","typ":"JOSE"}', '{"alg":"HS256","typ":"JOSE+JSON"}', '{"alg":"HS256","typ":"at+jwt"}',
            '{"alg":"HS256","typ":""}', '{"alg":"HS256","cty":"JWT"}', '{"alg":"HS256","cty":"text/plain"}',
            '{"alg":"HS256","kid":"one"}', '{"alg":"HS256","kid":""}', '{"alg":"HS256","enc":"A128GCM"}',
            '{"alg":"HS256","ALG":"none"}', '{"alg":"HS256","http://example.com/is_root":true}',
            '{"alg":"HS256","x":null,"y":[1.5e3,{"z":"\\ud83d\\ude00"}],"":0}', '{"alg":"HS256","\u00fc":"\U0001f600"}',
            '{"alg":"HS256","jku":"https://attacker.example/"}', '{"alg":"HS256","x5u":"file:///dev/null"}',
            '{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}', '{"alg":"HS256","x5c":["AAAA"],"x5t":"AAAA"}',
            '{"alg":"HS256","exp":1,"iss":"joe"}', '{"alg":"HS256","zip":"DEF"}',
        )
    ),
    *(
        Vector(f"payload: {payload!r}", sign(payload=payload), jwk())
        for payload in (b"", b"\0", b"x", b"xy", b"xyz", b"\xff\xfe\xfd", b"{}", b'{"a":1,"a":2}', b"a.b.c", b"\r\n")
    ),
    *(
        Vector(f"key: {members}", sign('{"alg":"HS256","kid":"one"}'), jwk(**members))
        for members in (
            {"alg": "HS256"}, {"use": "sig"}, {"key_ops": ["verify"]}, {"key_ops": ["sign", "verify"]},
            {"key_ops": ["verify", "sign"], "use": "sig"}, {"alg": "HS256", "use": "sig", "key_ops": ["verify"]},
            {"kid": "one"}, {"kid": "two"}, {"kid": ""}, {"alg": "HS256", "kid": "one", "use": "sig", "ext": True},
            {"createdAt": "2026-01-01T00:00:00Z", "x": [1]}, {"key_ops": ["verify", "encrypt"]},
        )
    ),
    *(
        Vector(f"key of {size} bytes", sign(secret=bytes(range(size))), jwk(k=encode(bytes(range(size)))))
        for size in (32, 33, 48, 63, 64, 65, 127, 200, 256)
    ),
    Vector("key of zeros", sign(secret=bytes(32)), jwk(k="A" * 43)),
    Vector(
        "RFC 7515 A.1",
        "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLm"
        "NvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        jwk(k="AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"),
    ),
    Vector(
        "RFC 7520 4.4",
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2"
        "luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvd"
        "XIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4.s0h6KThzkfBBBkLspW1h84VsJZFT"
        "sPPqMDA7g1Md7p0",
        jwk(
            kid="018c0ae5-4d9b-471b-bfd6-eef314bc7037", use="sig", alg="HS256",
            k="hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg",
        ),
    ),
]  # fmt: skip

SIGNATURES: list[tuple[str, bytes]] = [
    ("empty", b""),
    *((f"cut to {size}", RIGHT[:size]) for size in (1, 4, 8, 10, 16, 20, 31)),
    *((f"longer by {size}", RIGHT + bytes(size)) for size in (1, 16, 32)),
    *((f"bit {bit} flipped", flip) for bit in (0, 1, 7, 8, 64, 127, 128, 254, 255)
      for flip in [(int.from_bytes(RIGHT, "big") ^ 1 << bit).to_bytes(32, "big")]),
    ("zeros", bytes(32)), ("ones", b"\xff" * 32), ("reversed", RIGHT[::-1]),
    ("halves exchanged", RIGHT[16:] + RIGHT[:16]),
    ("complement", bytes(255 - byte for byte in RIGHT)), ("doubled", RIGHT * 2), ("zero before", b"\0" + RIGHT),
    ("hexadecimal", RIGHT.hex().encode()), ("as text", encode(RIGHT).encode()),
    ("SHA-384", mac(INPUT, "sha384")), ("SHA-512", mac(INPUT, "sha512")), ("SHA-512 cut", mac(INPUT, "sha512")[:32]),
    ("SHA-384 cut", mac(INPUT, "sha384")[:32]), ("SHA-1", mac(INPUT, "sha1")), ("SHA3-256", mac(INPUT, "sha3_256")),
    ("of the header alone", mac(HEAD)), ("of the payload alone", mac(BODY)), ("of nothing", mac("")),
    ("with a dot behind", mac(INPUT + ".")), ("without the dot", mac(HEAD + BODY)),
    ("exchanged", mac(f"{BODY}.{HEAD}")),
    ("of the decoded parts", mac(f"{HEADER}.{PAYLOAD.decode()}")), ("other key", mac(INPUT, secret=bytes(32))),
    ("empty key", mac(INPUT, secret=b"")), ("key as text", mac(INPUT, secret=encode(SECRET).encode())),
]  # fmt: skip

ALGORITHMS = [
    '"none"', '"None"', '"NONE"', '"nOnE"', '"hs256"', '"Hs256"', '"HS256 "', '" HS256"', '"HS256\\u0000"', '"HS384"',
    '"HS512"', '"HS1"', '"RS256"', '"RS512"', '"PS256"', '"ES256"', '"ES256K"', '"EdDSA"', '"A128KW"', '"dir"', '""',
    '"HS256/64"', '"SHA256"', '"\uff28S256"', "null", "true", "false", "0", "256", "5.0", "[]", '["HS256"]',
    '["none","HS256"]', "{}", '{"HS256":true}', '{"name":"HS256"}',
]  # fmt: skip

HEADERS: list[bytes] = [
    b"", b" ", b"{}", b'{"typ":"JWT"}', b'{"ALG":"HS256"}', b'{"alg ":"HS256"}', b'{" alg":"HS256"}', b"null", b"[]",
    b'"HS256"', b"256", b'[{"alg":"HS256"}]', b"HS256", b'{"alg":"HS256"', b'"alg":"HS256"}', b'{"alg":"HS256",}',
    b'{"alg":"HS256"}{}', b'{"alg":"HS256"} x', b"{'alg':'HS256'}", b'{alg:"HS256"}', b'{"alg":"HS256"}\0',
    b'/**/{"alg":"HS256"}', b'{"alg":"HS256"}\x0c', b'\xef\xbb\xbf{"alg":"HS256"}', b'{"alg":"HS256","x":"\xff"}',
    b'{"alg":"HS256","x":"\xc0\xaf"}', b'{"alg":"HS256","x":"\xed\xa0\x80"}', b'{"alg":"HS256","x":"\\ud800"}',
    b'{"alg":"HS256","x":"\n"}', b'{"alg":"HS256","x":01}', b'{"alg":"HS256","x":+1}', b'{"alg":"HS256","x":.5}',
    b'{"alg":"HS256","x":NaN}', b'{"alg":"HS256","x":-Infinity}', b'{"alg":"HS256","x":1e999}',
    b'{"alg":"HS256","x":"\\x41"}', '{"alg":"HS256"}'.encode("utf-16"), '{"alg":"HS256"}'.encode("utf-32-le"),
    b'{"alg":"HS256","alg":"HS256"}', b'{"alg":"none","alg":"HS256"}', b'{"alg":"HS256","alg":"none"}',
    b'{"alg":"HS256","\\u0061lg":"HS256"}', b'{"\\u0061lg":"none","alg":"HS256"}',
    b'{"alg":"HS256","kid":"a","kid":"a"}',
    b'{"alg":"HS256","x":{"y":1,"y":1}}', b'{"alg":"HS256","x":[{"y":1,"\\u0079":2}]}',
    b'{"alg":"HS256","crit":[]}', b'{"alg":"HS256","crit":["exp"],"exp":1}', b'{"alg":"HS256","crit":["alg"]}',
    b'{"alg":"HS256","crit":["b64"],"b64":true}', b'{"alg":"HS256","crit":["b64"],"b64":false}',
    b'{"alg":"HS256","crit":["x","x"],"x":1}', b'{"alg":"HS256","crit":null}', b'{"alg":"HS256","crit":"exp"}',
    b'{"alg":"HS256","b64":false}', b'{"alg":"HS256","b64":true}', b'{"alg":"HS256","typ":1}',
    b'{"alg":"HS256","typ":null}', b'{"alg":"HS256","typ":["JWT"]}', b"[" * 3000, b'{"x":' * 900,
]  # fmt: skip


def rewritten(part: int, *spellings: str) -> list[str]:
    """Tokens with another spelling of one part; where it is signed, the signature is right over it."""
    parts = [HEAD, BODY, MAC]
    tokens = []
    for spelling in spellings:
        changed = [*parts[:part], spelling, *parts[part + 1 :]]
        tokens.append(seal(".".join(changed[:2])) if part < 2 else ".".join(changed))
    return tokens


def misspelled(part: str) -> list[str]:
    """The part in every form but the canonical one, decoded to the same bytes by a lenient reader."""
    forms = [part + "=", part + "==", part + "%3D", part + "\n", part + "\r\n", " " + part, part + " ", part + "\t"]
    forms += [f"{part[:5]}{space}{part[5:]}" for space in (" ", "\n", "\r", "\t", "\0", "-\n", "=", "*", "\u00a0")]
    forms += [f'"{part}"', f"<{part}>", f"{part},{part}"]
    unused = {2: 4, 3: 2}.get(len(part) % 4, 0)
    last = ALPHABET.index(part[-1])
    forms += [part[:-1] + ALPHABET[last | bits] for bits in range(1, 1 << unused)]
    return forms


FORMS = [
    *(token for part, text in enumerate((HEAD, BODY, MAC)) for token in rewritten(part, *misspelled(text))),
    # A byte string whose encoding has both characters in which the alphabets differ.
    *(seal(f"{HEAD}.{text}") for text in ("++//", "--//", "++__", "+_-/", "A", "AB", "AAB", "AA=", "AA==", "A===")),
    "", ".", "..", "...", HEAD, f"{HEAD}.", INPUT, f"{INPUT}.", f".{BODY}.{MAC}", f"{HEAD}..{MAC}", f"..{MAC}",
    f".{INPUT}.{MAC}", f"{INPUT}.{MAC}.", f"{INPUT}.{MAC}.{MAC}", f"{INPUT}..{MAC}", f"{HEAD}.{HEAD}.{BODY}.{MAC}",
    f"{HEAD}.{BODY}{MAC}", f"{HEAD}{BODY}.{MAC}", f"{HEAD},{BODY},{MAC}", f"{HEAD}%2E{BODY}%2E{MAC}",
    f"{INPUT}.{MAC}\n", f"\n{INPUT}.{MAC}", f" {INPUT}.{MAC}", f"{INPUT}.{MAC}#", f"{INPUT}.{MAC}?x",
    f"Bearer {INPUT}.{MAC}",
    seal("."), seal(f"{HEAD}"), seal(f".{BODY}"), seal(f"{HEAD}.{BODY}."), seal(f"{HEAD}..{BODY}"),
    f"{HEAD}.{BODY}.{MAC}.a.b",
    json.dumps({"protected": HEAD, "payload": BODY, "signature": MAC}),
    json.dumps({"payload": BODY, "signatures": [{"protected": HEAD, "signature": MAC}]}),
    json.dumps({"payload": BODY, "header": {"alg": "HS256"}, "signature": MAC}), json.dumps(f"{INPUT}.{MAC}"),
    f"[{INPUT}.{MAC}]", f"{INPUT}.{MAC}".encode("utf-16-le").decode("latin-1"),
    f"{INPUT}.{MAC}".replace("e", "\u0435", 1),
    f"{INPUT}.{MAC}".replace(".", "\uff0e"), f"{HEAD}.{encode(PAYLOAD + b' ')}.{MAC}",
    f"{encode(b' ' + HEADER.encode())}.{BODY}.{MAC}",
    f"{HEAD[:-2]}.{HEAD[-2:]}{BODY}.{MAC}", f"{BODY}.{HEAD}.{MAC}", f"{INPUT}.{MAC}" + "A" * 9000,
]  # fmt: skip

SHORT = {
    size: jwk(k=encode(SECRET[:size]))
    for size in (0, 1, 8, 10, 16, 20, 24, 31)
}  # fmt: skip

KEYS: list[dict[str, Any]] = [
    jwk(alg="HS384"), jwk(alg="HS512"), jwk(alg="RS256"), jwk(alg="none"), jwk(alg="A256GCM"), jwk(alg="hs256"),
    jwk(alg=""), jwk(alg=["HS256"]), jwk(alg=256), jwk() | {"alg": None},
    jwk(use="enc"), jwk(use="SIG"), jwk(use=""), jwk(use="sig "), jwk(use=["sig"]), jwk() | {"use": None},
    jwk(key_ops=[]), jwk(key_ops=["sign"]), jwk(key_ops=["encrypt"]), jwk(key_ops=["encrypt", "decrypt"]),
    jwk(key_ops=["Verify"]), jwk(key_ops=["verify", "verify"]), jwk(key_ops="verify"), jwk(key_ops={"verify": True}),
    jwk(key_ops=["verify", 1]), jwk() | {"key_ops": None}, jwk(key_ops=["deriveKey"]),
    jwk(key_ops=["wrapKey", "unwrapKey"]),
    jwk(use="enc", key_ops=["verify"]), jwk(use="sig", key_ops=["verify", "encrypt"]), jwk(use="sig", key_ops=["sign"]),
    jwk(kty="RSA"), jwk(kty="EC"), jwk(kty="OKP"), jwk(kty="OCT"), jwk(kty="oct "), jwk(kty=""), jwk(kty=["oct"]),
    jwk(kty=None), jwk(k=None), jwk() | {"k": None}, jwk(k=1), jwk(k=[encode(SECRET)]), jwk(k={}), jwk(k=SECRET),
    jwk(k=encode(SECRET) + "="), jwk(k=base64.b64encode(b"\xff" * 32).decode()), jwk(k=encode(SECRET) + "\n"),
    jwk(k=" " + encode(SECRET)), jwk(k=encode(SECRET)[:9] + "\n" + encode(SECRET)[9:]), jwk(k=SECRET.hex() + "é"),
    jwk(k=encode(SECRET)[:-1] + ALPHABET[ALPHABET.index(encode(SECRET)[-1]) | 1]), jwk(k=encode(SECRET)[:-2]),
    jwk(k=encode(SECRET) + "AA"), {}, {"keys": [jwk()]}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"},
    {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
]  # fmt: skip


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector.name)
def test_a_valid_token_gives_its_payload(vector: Vector) -> None:
    encoded = vector.token.split(".")[1]

    assert encode(verify_compact(vector.token, vector.key)) == encoded
    assert encode(verify_compact(vector.token.encode(), vector.key)) == encoded


def refusal(token: str, key: dict[str, Any]) -> InvalidTokenError:
    with pytest.raises(InvalidTokenError) as caught:
        verify_compact(token, key)
    assert caught.value.__context__ is None
    assert not [word for word in re.findall(r"[\w-]{8,}", token) if word in str(caught.value)]
    return caught.value


@pytest.mark.parametrize(("name", "signature"), SIGNATURES, ids=[name for name, _ in SIGNATURES])
def test_a_signature_that_is_not_the_right_one_is_refused(name: str, signature: bytes) -> None:
    assert signature != RIGHT, name
    assert refusal(f"{INPUT}.{encode(signature)}", jwk()).reason == "bad_signature"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_algorithm_is_refused_signed_as_it_says_or_as_the_key_says(algorithm: str) -> None:
    token = sign(f'{{"alg":{algorithm}}}')
    signing_input = token.rpartition(".")[0]

    assert refusal(token, jwk()).reason == "bad_header"
    assert refusal(token, jwk(alg="HS256")).reason == "bad_header"
    for signature in (b"", mac(signing_input, "sha384"), mac(signing_input, "sha512")):
        assert refusal(f"{signing_input}.{encode(signature)}", jwk()).reason == "bad_signature"


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_a_header_that_the_standards_forbid_or_that_asks_for_more_is_refused(header: bytes) -> None:
    assert refusal(raw(header), jwk()).reason == "bad_header"


@pytest.mark.parametrize("token", FORMS, ids=range(len(FORMS)))
def test_what_is_no_compact_serialization_in_its_canonical_form_is_refused(token: str) -> None:
    assert refusal(token, jwk()).reason in {"malformed", "bad_signature", "bad_header", "too_long"}


@pytest.mark.parametrize("size", SHORT)
def test_a_key_of_less_than_256_bits_is_refused_though_it_has_signed(size: int) -> None:
    with pytest.raises(InvalidKeyError, match="too short"):
        verify_compact(sign(secret=SECRET[:size]), SHORT[size])


@pytest.mark.parametrize("key", KEYS, ids=range(len(KEYS)))
def test_a_key_that_is_not_meant_for_this_is_refused_though_it_has_signed(key: dict[str, Any]) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        verify_compact(sign(), key)

    assert caught.value.reason == "bad_key"
    assert encode(SECRET)[:-2] not in str(caught.value)


def test_a_key_that_differs_in_any_bit_is_another_key() -> None:
    for bit in range(256):
        other = (int.from_bytes(SECRET, "big") ^ 1 << bit).to_bytes(32, "big")
        assert refusal(sign(), jwk(k=encode(other))).reason == "bad_signature"


def test_hmac_does_not_tell_a_key_from_itself_with_zeros_behind_and_this_is_no_forgery() -> None:
    # RFC 2104 fills keys up with zeros: two texts for one key, both of which only its owner can write.
    assert verify_compact(sign(), jwk(k=encode(SECRET + b"\0"))) == PAYLOAD
