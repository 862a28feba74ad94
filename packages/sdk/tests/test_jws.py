import base64
import hmac
import json
import pickle
from collections.abc import Mapping

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jws as joserfc_jws
from joserfc.jwk import OctKey

from ecross.errors import EcrossError
from ecross.jws import (
    MAX_TOKEN_BYTES,
    HmacKey,
    InvalidKeyError,
    InvalidTokenError,
    StrictJsonError,
    key_secret,
    loads_strict,
    verify_any,
    verify_compact,
)

SECRET = bytes(range(32))
OTHER_SECRET = bytes(range(1, 33))
ISSUED_HEADER = b'{"alg":"HS256","typ":"JWT"}'
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def seal(signing_input: str, secret: bytes = SECRET) -> str:
    """Add a good signature to whatever stands before it, well formed or not."""
    return f"{signing_input}.{b64url(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def sign(payload: bytes, header: bytes = ISSUED_HEADER, secret: bytes = SECRET) -> str:
    return seal(f"{b64url(header)}.{b64url(payload)}", secret)


def jwk(**members: object) -> dict[str, object]:
    return {"kty": "oct", "k": b64url(SECRET), **members}


def refusal(token: object, key: Mapping[str, object] | bytes = SECRET) -> InvalidTokenError:
    with pytest.raises(InvalidTokenError) as caught:
        verify_compact(token, key)  # type: ignore[arg-type]  # also what is no token
    return caught.value


TOKEN = sign(b'{"sub":"acme"}')


class TestGoodTokens:
    def test_the_payload_is_returned_as_it_was_signed(self) -> None:
        assert verify_compact(TOKEN, SECRET) == b'{"sub":"acme"}'

    def test_a_token_is_taken_as_text_and_as_bytes(self) -> None:
        assert verify_compact(TOKEN.encode(), SECRET) == verify_compact(TOKEN, SECRET)

    def test_the_example_of_rfc_7515_is_accepted(self) -> None:
        # RFC 7515 appendix A.1: a key of 512 bits, line breaks inside the header's JSON.
        header = b'{"typ":"JWT",\r\n "alg":"HS256"}'
        payload = b'{"iss":"joe",\r\n "exp":1300819380,\r\n "http://example.com/is_root":true}'
        key = {
            "kty": "oct",
            "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        }
        signature = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

        assert verify_compact(f"{b64url(header)}.{b64url(payload)}.{signature}", key) == payload

    @given(st.binary(max_size=200), st.binary(min_size=32, max_size=100))
    def test_whatever_was_signed_comes_back(self, payload: bytes, secret: bytes) -> None:
        assert verify_compact(sign(payload, secret=secret), secret) == payload
        assert verify_compact(sign(payload, secret=secret), {"kty": "oct", "k": b64url(secret)}) == payload

    @pytest.mark.parametrize(
        "header",
        [
            b'{"alg":"HS256"}',
            b'{"typ":"JWT","alg":"HS256"}',
            b'{ "kid" : "one", "alg" : "HS256" }',
            b'\n{"cty":"x",\t"alg":"HS256"}\r\n',
            '{"alg":"HS256","x":"é\U0001f600"}'.encode(),
        ],
    )
    def test_other_spellings_of_the_header_are_accepted(self, header: bytes) -> None:
        assert verify_compact(sign(b"x", header), SECRET) == b"x"

    def test_an_empty_payload_is_a_payload(self) -> None:
        assert verify_compact(sign(b""), SECRET) == b""

    @pytest.mark.parametrize("start", ["AA", "__", "--"])
    def test_a_signature_may_start_with_zeros_or_with_ones(self, start: str) -> None:
        tokens = (sign(str(number).encode()) for number in range(100_000))  # one in 4096 starts so
        token = next(token for token in tokens if token.rpartition(".")[2].startswith(start))

        assert verify_compact(token, SECRET).isdigit()

    def test_pyjwt_and_joserfc_make_tokens_that_are_accepted(self) -> None:
        claims = {"sub": "acme", "n": 1}

        by_pyjwt = jwt.encode(claims, SECRET, algorithm="HS256")
        by_joserfc = joserfc_jws.serialize_compact({"alg": "HS256"}, b"anything", OctKey.import_key(SECRET))

        assert json.loads(verify_compact(by_pyjwt, SECRET)) == claims
        assert verify_compact(by_joserfc, SECRET) == b"anything"

    @given(st.binary(max_size=60))
    def test_joserfc_and_pyjwt_accept_what_is_accepted_here(self, payload: bytes) -> None:
        token = sign(payload)

        assert joserfc_jws.deserialize_compact(token, OctKey.import_key(SECRET)).payload == payload
        assert jwt.PyJWS().decode(token, SECRET, algorithms=["HS256"]) == verify_compact(token, SECRET)


class TestAlgorithm:
    @pytest.mark.parametrize(
        "algorithm",
        ["none", "None", "NONE", "nOnE", "", "HS384", "HS512", "RS256", "ES256",
         "hs256", "HS256 ", " HS256", "HS256\\u0000",
         "dir", "A256GCM"],
    )  # fmt: skip
    @pytest.mark.parametrize("typ", ["", ',"typ":"JWT"'])
    def test_a_token_that_names_another_algorithm_is_refused_even_with_a_good_signature(
        self, algorithm: str, typ: str
    ) -> None:
        error = refusal(sign(b"x", f'{{"alg":"{algorithm}"{typ}}}'.encode()))

        assert error.reason == "bad_header"

    @pytest.mark.parametrize("algorithm", ["null", "true", "256", "[]", '["HS256"]', '{"HS256":1}', "{}"])
    def test_an_algorithm_that_is_no_text_is_refused(self, algorithm: str) -> None:
        assert refusal(sign(b"x", f'{{"alg":{algorithm}}}'.encode())).reason == "bad_header"

    @pytest.mark.parametrize("header", [b"{}", b'{"typ":"JWT"}', b'{"Alg":"HS256"}', b'{"alg ":"HS256"}'])
    def test_a_token_that_names_no_algorithm_is_refused(self, header: bytes) -> None:
        assert refusal(sign(b"x", header)).reason == "bad_header"

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS256"])
    def test_an_unsigned_token_is_refused(self, algorithm: str) -> None:
        unsigned = f"{b64url(json.dumps({'alg': algorithm}).encode())}.{b64url(b'x')}"

        assert refusal(f"{unsigned}.").reason == "bad_signature"
        assert refusal(unsigned).reason == "malformed"

    @pytest.mark.parametrize("digest", ["sha384", "sha512", "sha1", "md5"])
    def test_another_hash_under_the_same_key_is_refused(self, digest: str) -> None:
        signing_input = TOKEN.rpartition(".")[0]
        mac = hmac.digest(SECRET, signing_input.encode(), digest)

        assert refusal(f"{signing_input}.{b64url(mac)}").reason == "bad_signature"
        assert refusal(f"{signing_input}.{b64url(mac[:32])}").reason == "bad_signature"


class TestHeader:
    @pytest.mark.parametrize(
        "header",
        [
            b'{"alg":"HS256","alg":"HS256"}',
            b'{"alg":"none","alg":"HS256"}',
            b'{"alg":"HS256","\\u0061lg":"none"}',
            b'{"alg":"HS256","x":{"a":1,"a":2}}',
            b'{"alg":"HS256","typ":"JWT","typ":"JWT"}',
            b"",
            b"null",
            b"[]",
            b'["alg","HS256"]',
            b'"HS256"',
            b"42",
            b'{"alg":"HS256"',
            b'{"alg":"HS256"}}',
            b'{"alg":"HS256"} x',
            b"{'alg':'HS256'}",
            b'{"alg":"HS256",}',
            b'{"alg":"HS256","x":NaN}',
            b'{"alg":"HS256","x":"\xff"}',
            b'{"alg":"HS256","x":"\xed\xa0\x80"}',
            b'{"alg":"HS256","x":"\\ud800"}',
            b'{"alg":"HS256","\\udfff":1}',
            b'\xef\xbb\xbf{"alg":"HS256"}',
            '{"alg":"HS256"}'.encode("utf-16"),
            '{"alg":"HS256"}'.encode("utf-16-le"),
            b'{"alg":"HS256","x":' + b"[" * 5000,
            b"[" * 5000,
            b'{"a":' * 1000,
            b'{"alg":"HS256","x":' + b"9" * 5000 + b"}",
        ],
        ids=range(28),
    )
    def test_a_header_that_is_no_strict_json_object_is_refused(self, header: bytes) -> None:
        error = refusal(sign(b"x", header))

        assert error.reason == "bad_header"
        assert "strict JSON object" in str(error)

    @pytest.mark.parametrize(
        "extension",
        ['"crit":[]', '"crit":["exp"]', '"crit":["b64"],"b64":false', '"crit":["b64"],"b64":true', '"crit":null',
         '"crit":"b64"', '"b64":false', '"b64":true', '"b64":null', '"crit":["alg"]'],
    )  # fmt: skip
    def test_an_extension_is_refused(self, extension: str) -> None:
        assert refusal(sign(b"x", f'{{"alg":"HS256",{extension}}}'.encode())).reason == "bad_header"

    def test_an_unencoded_payload_is_refused(self) -> None:
        header = b64url(b'{"alg":"HS256","b64":false,"crit":["b64"]}')

        assert refusal(seal(f"{header}.{{}}")).reason == "malformed"
        assert refusal(seal(f"{header}.abcd")).reason == "bad_header"

    @pytest.mark.parametrize("typ", ["null", "1", '["JWT"]', "{}", "true"])
    def test_a_type_that_is_no_text_is_refused(self, typ: str) -> None:
        assert refusal(sign(b"x", f'{{"alg":"HS256","typ":{typ}}}'.encode())).reason == "bad_header"

    @pytest.mark.parametrize("typ", ['"jwt"', '"at+jwt"', '"JOSE"', '""', '"application/jwt"'])
    def test_the_type_is_left_to_the_application(self, typ: str) -> None:
        token = sign(b"x", f'{{"alg":"HS256","typ":{typ}}}'.encode())

        assert verify_compact(token, SECRET) == b"x"
        with pytest.raises(InvalidTokenError, match="not JWT") as caught:
            verify_any(token.encode(), [HmacKey(SECRET)], typ="JWT")
        assert caught.value.reason == "bad_header"

    def test_an_application_may_ask_for_its_own_type(self) -> None:
        token = sign(b"x", b'{"alg":"HS256","typ":"page"}')

        assert verify_any(token.encode(), [HmacKey(SECRET)], typ="page") == b"x"
        assert verify_any(sign(b"x", b'{"alg":"HS256"}').encode(), [HmacKey(SECRET)], typ="page") == b"x"
        with pytest.raises(InvalidTokenError, match="not page"):
            verify_any(TOKEN.encode(), [HmacKey(SECRET)], typ="page")

    def test_keys_that_a_token_brings_along_are_never_used(self) -> None:
        offered = {"kty": "oct", "k": b64url(OTHER_SECRET), "alg": "HS256", "kid": "mine"}
        header = {
            "alg": "HS256", "typ": "JWT", "kid": "../../../../dev/null", "jwk": offered,
            "jku": "https://attacker.example/keys", "x5u": "https://attacker.example/cert", "x5c": ["AAAA"],
        }  # fmt: skip

        forged = sign(b"x", json.dumps(header).encode(), OTHER_SECRET)
        honest = sign(b"x", json.dumps(header).encode())

        assert refusal(forged).reason == "bad_signature"
        assert refusal(forged, jwk(kid="mine")).reason == "bad_signature"
        assert verify_compact(honest, SECRET) == b"x"

    @pytest.mark.parametrize("secret", [b"\x00" * 32, b"", b64url(SECRET).encode(), SECRET[::-1], SECRET + b"\x01"])
    def test_keys_that_an_attacker_may_guess_are_not_the_key(self, secret: bytes) -> None:
        assert refusal(sign(b"x", secret=secret)).reason == "bad_signature"


class TestSignature:
    def test_a_token_signed_with_another_key_is_refused(self) -> None:
        assert refusal(sign(b"x", secret=OTHER_SECRET)).reason == "bad_signature"

    @pytest.mark.parametrize(
        "change",
        [
            lambda _: b"",
            lambda mac: mac[:-1],
            lambda mac: mac[:16],
            lambda mac: mac[1:],
            lambda mac: mac + b"\x00",
            lambda mac: b"\x00" + mac,
            lambda mac: mac + mac,
            lambda mac: bytes(len(mac)),
            lambda mac: b"\xff" * len(mac),
            lambda mac: bytes([mac[0] ^ 1]) + mac[1:],
            lambda mac: mac[:-1] + bytes([mac[-1] ^ 128]),
            lambda mac: mac.hex().encode(),
            lambda mac: mac[::-1],
        ],
        ids=range(13),
    )  # fmt: skip
    def test_a_signature_that_is_not_exactly_the_right_one_is_refused(self, change: object) -> None:
        assert callable(change)
        signing_input = TOKEN.rpartition(".")[0]
        mac = hmac.digest(SECRET, signing_input.encode(), "sha256")

        assert refusal(f"{signing_input}.{b64url(change(mac))}").reason == "bad_signature"

    def test_the_signature_of_another_token_is_refused(self) -> None:
        other = sign(b'{"sub":"other"}')

        assert refusal(TOKEN.rpartition(".")[0] + "." + other.rpartition(".")[2]).reason == "bad_signature"

    def test_header_and_payload_cannot_be_exchanged_or_shifted(self) -> None:
        header, payload, signature = TOKEN.split(".")

        assert refusal(f"{payload}.{header}.{signature}").reason == "bad_signature"
        assert refusal(f"{header[:-4]}.{header[-4:]}{payload}.{signature}").reason == "bad_signature"

    @given(st.data())
    def test_a_change_of_any_one_character_is_refused(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(TOKEN) - 1))
        character = data.draw(st.sampled_from(ALPHABET + "=.+/ \n\x00") | st.characters(codec="utf-8"))
        changed = TOKEN[:place] + character + TOKEN[place + 1 :]

        if changed != TOKEN:
            refusal(changed)
            refusal(changed.encode())

    @given(st.data())
    def test_leaving_out_repeating_or_inserting_a_character_is_refused(self, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(TOKEN) - 1))
        inserted = data.draw(st.sampled_from(ALPHABET + "=.+/ \n\r\t\x00"))

        refusal(TOKEN[:place] + TOKEN[place + 1 :])
        refusal(TOKEN[:place] + TOKEN[place] + TOKEN[place:])
        refusal(TOKEN[:place] + inserted + TOKEN[place:])

    def test_every_last_character_but_one_is_refused(self) -> None:
        accepted = []
        for character in ALPHABET:
            try:
                verify_compact(TOKEN[:-1] + character, SECRET)
            except InvalidTokenError:
                continue
            accepted.append(character)

        assert accepted == [TOKEN[-1]]


class TestForm:
    @pytest.mark.parametrize(
        "token",
        [
            "", ".", "..", "...", "a", "a.b", TOKEN + ".", "." + TOKEN, TOKEN + ".a", TOKEN + "." + TOKEN,
            TOKEN.rpartition(".")[0], TOKEN.partition(".")[2], TOKEN.replace(".", ""), TOKEN.replace(".", ".."),
            "." * 8192, "a.b.c.d.e", f"{TOKEN}..a.b",
        ],
        ids=range(17),
    )  # fmt: skip
    def test_anything_but_three_parts_is_refused(self, token: str) -> None:
        assert refusal(token).reason in {"malformed", "bad_signature"}

    @pytest.mark.parametrize("part", [0, 1, 2])
    def test_a_missing_part_is_refused(self, part: int) -> None:
        parts = TOKEN.split(".")
        parts[part] = ""

        assert refusal(".".join(parts)).reason == "bad_signature"

    def test_an_encrypted_token_is_refused(self) -> None:
        header = b64url(b'{"alg":"dir","enc":"A128CBC-HS256"}')

        assert refusal(f"{header}..{b64url(bytes(16))}.{b64url(bytes(32))}.{b64url(bytes(16))}").reason == "malformed"

    def test_the_json_serializations_are_refused(self) -> None:
        header, payload, signature = TOKEN.split(".")
        flattened = {"protected": header, "payload": payload, "signature": signature}
        general = {"payload": payload, "signatures": [{"protected": header, "signature": signature}]}

        assert refusal(json.dumps(flattened)).reason == "malformed"
        assert refusal(json.dumps(general)).reason == "malformed"

    @pytest.mark.parametrize(
        "foreign", ["=", "+", "/", " ", "\n", "\r", "\t", "\x00", "?", "#", "%", "~", "é", "\ud800", "\uff21"]
    )
    @pytest.mark.parametrize("part", [0, 1, 2])
    @pytest.mark.parametrize("end", ["first", "last"])
    def test_characters_outside_base64url_are_refused_even_under_a_good_signature(
        self, foreign: str, part: int, end: str
    ) -> None:
        parts = TOKEN.split(".")
        parts[part] = parts[part] + foreign if end == "last" else foreign + parts[part]
        if part != 2:
            signing_input = ".".join(parts[:2])
            mac = hmac.digest(SECRET, signing_input.encode(errors="surrogatepass"), "sha256")
            parts[2] = b64url(mac)

        assert refusal(".".join(parts)).reason == "malformed"

    def test_padding_is_refused(self) -> None:
        header, payload, signature = TOKEN.split(".")

        assert refusal(seal(f"{header}=.{payload}")).reason == "malformed"
        assert refusal(seal(f"{header}.{payload}==")).reason == "malformed"
        assert refusal(f"{header}.{payload}.{signature}=").reason == "malformed"

    def test_the_standard_alphabet_is_refused(self) -> None:
        header = b64url(ISSUED_HEADER)

        assert verify_compact(seal(f"{header}.--__"), SECRET) == base64.b64decode("++//")
        assert refusal(seal(f"{header}.++//")).reason == "malformed"

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [("AA", None), ("AB", "malformed"), ("AP", "malformed"), ("AAA", None), ("AAB", "malformed"),
         ("AAD", "malformed"), ("A", "malformed"), ("AAAAA", "malformed"), ("AAAA", None)],
    )  # fmt: skip
    def test_a_payload_in_any_but_its_canonical_form_is_refused_under_a_good_signature(
        self, payload: str, reason: str | None
    ) -> None:
        token = seal(f"{b64url(ISSUED_HEADER)}.{payload}")

        if reason is None:
            assert b64url(verify_compact(token, SECRET)) == payload
        else:
            assert refusal(token).reason == reason

    def test_a_header_in_any_but_its_canonical_form_is_refused_under_a_good_signature(self) -> None:
        header = b'{"alg":"HS256" }'
        encoded = b64url(header)
        assert len(header) % 3 == 1
        assert encoded[-1] in "AQgw"
        sloppy = encoded[:-1] + chr(ord(encoded[-1]) + 1)
        assert base64.urlsafe_b64decode(sloppy + "==") == header

        assert verify_compact(seal(f"{encoded}.AA"), SECRET) == b"\x00"
        assert refusal(seal(f"{sloppy}.AA")).reason == "malformed"

    def test_a_signature_in_any_but_its_canonical_form_is_refused(self) -> None:
        last = ALPHABET.index(TOKEN[-1])
        assert last % 4 == 0  # 32 bytes leave two unused bits

        for unused in (1, 2, 3):
            assert refusal(TOKEN[:-1] + ALPHABET[last + unused]).reason == "malformed"

    def test_a_token_is_accepted_up_to_the_size_limit_and_refused_beyond(self) -> None:
        overhead = len(sign(b""))
        length = MAX_TOKEN_BYTES - overhead
        payload = bytes(length * 3 // 4)

        longest = sign(payload)
        assert len(longest) == MAX_TOKEN_BYTES
        assert verify_compact(longest, SECRET) == payload
        assert refusal(longest + "A").reason == "too_long"
        assert refusal(sign(payload + b"\x00")).reason == "too_long"
        assert refusal("." * 10_000_000).reason == "too_long"
        assert refusal(b"\xff" * 8193).reason == "too_long"

    @pytest.mark.parametrize("token", [None, 1, 1.5, True, [], {}, object(), bytearray(b"a.b.c"), memoryview(b"a.b.c")])
    def test_what_is_no_text_is_refused(self, token: object) -> None:
        assert refusal(token).reason == "malformed"

    @given(st.text() | st.binary() | st.lists(st.text(ALPHABET), min_size=3, max_size=3).map(".".join))
    def test_arbitrary_text_is_refused_and_never_breaks_anything(self, token: str | bytes) -> None:
        refusal(token)

    @given(st.binary(max_size=40), st.binary(max_size=40))
    def test_arbitrary_content_under_a_good_signature_never_breaks_anything(
        self, header: bytes, payload: bytes
    ) -> None:
        try:
            returned = verify_compact(sign(payload, header), SECRET)
        except InvalidTokenError:
            return
        assert returned == payload

    @given(st.text(ALPHABET, max_size=12), st.text(ALPHABET, max_size=12))
    def test_what_is_accepted_is_the_only_text_for_its_bytes(self, header: str, payload: str) -> None:
        token = seal(f"{header or b64url(ISSUED_HEADER)}.{payload}")
        try:
            returned = verify_compact(token, SECRET)
        except InvalidTokenError:
            return
        assert b64url(returned) == payload


class TestKeys:
    @pytest.mark.parametrize(
        "members",
        [
            {},
            {"alg": "HS256"},
            {"use": "sig"},
            {"key_ops": ["verify"]},
            {"key_ops": ["sign", "verify"], "use": "sig", "alg": "HS256", "kid": "one"},
            {"key_ops": ["verify", "somethingNew"]},
            {"createdAt": "2026-03-04T15:30:00Z", "x": None},
        ],
    )
    def test_a_jwk_meant_for_this_is_accepted(self, members: dict[str, object]) -> None:
        assert verify_compact(TOKEN, jwk(**members)) == b'{"sub":"acme"}'
        assert key_secret(jwk(**members)) == SECRET

    @pytest.mark.parametrize(
        "members",
        [
            {"kty": "RSA"}, {"kty": "EC"}, {"kty": "OKP"}, {"kty": "OCT"}, {"kty": None}, {"kty": ["oct"]},
            {"alg": "HS384"}, {"alg": "RS256"}, {"alg": "none"}, {"alg": "A256GCM"}, {"alg": None}, {"alg": ["HS256"]},
            {"use": "enc"}, {"use": "SIG"}, {"use": None}, {"use": ""}, {"use": ["sig"]},
            {"key_ops": ["sign"]}, {"key_ops": []}, {"key_ops": ["encrypt", "decrypt"]}, {"key_ops": "verify"},
            {"key_ops": ["sign, verify"]}, {"key_ops": ["verify", "verify"]}, {"key_ops": None},
            {"key_ops": {"verify": 1}}, {"key_ops": ["verify", 1]}, {"key_ops": ["verify", ["verify"]]},
            {"key_ops": ["verify", "encrypt"], "use": "sig"}, {"key_ops": ["verify"], "use": "enc"},
            {"k": None}, {"k": 1}, {"k": ""}, {"k": b64url(SECRET[:31])}, {"k": b64url(SECRET) + "="},
            {"k": b64url(SECRET) + "\n"}, {"k": " " + b64url(SECRET)}, {"k": b64url(SECRET)[:-1] + "9"},
            {"k": base64.b64encode(b"\xff" * 32).decode()}, {"k": b64url(SECRET) + "é"}, {"k": [b64url(SECRET)]},
            {"k": "A" * 45}, {"k": b64url(SECRET).encode()},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_jwk_not_meant_for_this_is_refused(self, members: dict[str, object]) -> None:
        error = refusal(TOKEN, jwk(**members))

        assert isinstance(error, InvalidKeyError)
        assert error.reason == "bad_key"

    @pytest.mark.parametrize("absent", ["kty", "k"])
    def test_a_jwk_without_a_needed_member_is_refused(self, absent: str) -> None:
        members = jwk()
        del members[absent]

        assert refusal(TOKEN, members).reason == "bad_key"

    @pytest.mark.parametrize("length", [0, 1, 16, 31])
    def test_a_key_of_less_than_256_bits_is_refused(self, length: int) -> None:
        secret = bytes(length)
        token = sign(b"x", secret=secret)

        assert refusal(token, secret).reason == "bad_key"
        assert refusal(token, {"kty": "oct", "k": b64url(secret)}).reason == "bad_key"

    @pytest.mark.parametrize("key", ["x" * 32, None, 5, [SECRET], bytearray(SECRET), memoryview(SECRET)])
    def test_what_is_neither_jwk_nor_bytes_is_refused(self, key: object) -> None:
        with pytest.raises(InvalidKeyError):
            verify_compact(TOKEN, key)  # type: ignore[arg-type]  # the point of the test

    def test_the_public_key_of_another_algorithm_is_no_secret(self) -> None:
        public_key = b"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----\n"
        confused = sign(b"x", secret=public_key)
        elliptic = {"kty": "EC", "crv": "P-256", "x": b64url(bytes(32)), "y": b64url(bytes(32)), "alg": "ES256"}

        assert refusal(confused, elliptic).reason == "bad_key"

    def test_a_key_shows_nothing_of_itself_and_is_not_copied(self) -> None:
        key = HmacKey(b"hunter2!" * 4)

        assert "hunter2" not in repr(key)
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            pickle.dumps(key)

    @given(st.binary(max_size=300), st.binary(min_size=32, max_size=200))
    def test_a_signature_is_known_again_and_no_other(self, message: bytes, secret: bytes) -> None:
        mac = hmac.digest(secret, message, "sha256")

        assert HmacKey(secret).signed(message, mac)
        assert not HmacKey(secret).signed(message + b"x", mac)


class TestSecrecy:
    MARK = "hunter2hunter2hunter2hunter2"

    @pytest.mark.parametrize(
        ("token", "key"),
        [
            (sign(MARK.encode(), secret=OTHER_SECRET), SECRET),
            (sign(b"x", f'{{"alg":"{MARK}"}}'.encode()), SECRET),
            (sign(b"x", f'{{"alg":"HS256","typ":["{MARK}"]}}'.encode()), SECRET),
            (sign(b"x", f'{{"alg":"HS256","{MARK}":1,"{MARK}":2}}'.encode()), SECRET),
            (sign(b"x", f'{{"alg":"HS256","crit":["{MARK}"]}}'.encode()), SECRET),
            (sign(b"x", f'{{"{MARK}"'.encode()), SECRET),
            (sign(b"x", b'{"' + MARK.encode() + b'\xff":1}'), SECRET),
            (f"{MARK}.{MARK}é.{MARK}", SECRET),
            (f"{MARK}=.{MARK}.{MARK}", SECRET),
            (f"{MARK}.{MARK}.{MARK}a", SECRET),
            (f"{MARK}.{MARK}", SECRET),
            (seal(f"{b64url(ISSUED_HEADER)}.{MARK}a"), SECRET),
            (MARK * 1000, SECRET),
            (TOKEN, MARK.encode()),
            (TOKEN, {"kty": "oct", "k": MARK}),
            (TOKEN, {"kty": "oct", "k": MARK + "!"}),
            (TOKEN, {"kty": MARK, "k": MARK}),
            (TOKEN, {"kty": "oct", "k": b64url(SECRET), "use": MARK}),
            (TOKEN, {"kty": "oct", "k": b64url(SECRET), "alg": MARK}),
            (TOKEN, {"kty": "oct", "k": b64url(SECRET), "key_ops": [MARK]}),
        ],
        ids=range(20),
    )
    def test_a_refusal_holds_nothing_of_token_and_key_and_no_other_error_that_does(
        self, token: str, key: Mapping[str, object] | bytes
    ) -> None:
        error = refusal(token, key)

        shown = f"{error} {error!r} {error.args} {vars(error)} {pickle.dumps(error)!r}"
        assert "hunter2" not in shown
        assert "7" not in str(error)
        assert not any(part in shown for part in token.split(".") if len(part) > 3)
        assert isinstance(error, EcrossError)
        assert error.__context__ is None
        assert error.__cause__ is None


class TestOracles:
    """joserfc and PyJWT as a second opinion: what both refuse must be refused here."""

    @given(st.data())
    def test_what_is_accepted_here_is_accepted_by_others(self, data: st.DataObject) -> None:
        header = data.draw(
            st.fixed_dictionaries(
                {"alg": st.sampled_from(["HS256", "HS384", "none", 1])},
                optional={"typ": st.sampled_from(["JWT", "jwt", None]), "crit": st.just(["b64"]), "b64": st.booleans()},
            )
        )
        token = sign(b"{}", json.dumps(header).encode(), data.draw(st.sampled_from([SECRET, OTHER_SECRET])))
        try:
            verify_compact(token, SECRET)
        except InvalidTokenError:
            return

        assert jwt.PyJWS().decode(token, SECRET, algorithms=["HS256"]) == b"{}"
        assert joserfc_jws.deserialize_compact(token, OctKey.import_key(SECRET), algorithms=["HS256"]).payload == b"{}"

    def test_a_token_with_a_key_id_of_its_own_is_read_alike(self) -> None:
        claims = {"sub": "acme", "n": 1}

        token = jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "one"})

        assert loads_strict(verify_compact(token, jwk(kid="two"))) == claims


def test_the_error_for_bad_json_can_be_caught_as_a_value_error() -> None:
    assert issubclass(StrictJsonError, ValueError)
