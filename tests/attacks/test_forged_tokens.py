"""Tokens that an attacker makes. Unless the key itself is attacked they are signed with the server's own: what else is
wrong with them must be enough.
"""

from __future__ import annotations

import base64
import json
import secrets
import socket
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe
from joserfc.jwk import OctKey

if TYPE_CHECKING:
    from pathlib import Path

    from tests.attacks.conftest import Forge

FOREIGN = secrets.token_bytes(32)


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def test_what_all_of_them_vary_is_accepted(forge: Forge) -> None:
    forge.assert_accepted(forge.token())
    forge.assert_accepted(forge.token({"typ": "JWT", "alg": "HS256"}))
    forge.assert_accepted(forge.token({"alg": "HS256"}))


class TestAlgorithm:
    @pytest.mark.parametrize(
        "algorithm",
        ["RS256", "RS384", "RS512", "PS256", "ES256", "ES256K", "ES512", "EdDSA", "Ed25519", "HS384", "HS512", "HS224",
         "none", "None", "NONE", "nOnE", "", " ", "hs256", "HS256 ", " HS256", "HS256\0", "HS256\n", "HS-256", "HS2560",
         "\u0397S256", "\uff28\uff33\uff12\uff15\uff16", "HS256,none", "dir", "A256KW",
         ["HS256"], ["none", "HS256"], {"HS256": 1}, 256, 0, True, None],
    )  # fmt: skip
    def test_another_one_is_refused_signed_and_unsigned(self, forge: Forge, algorithm: Any) -> None:
        token = forge.token({"alg": algorithm, "typ": "JWT"})
        forge.assert_refused(token)
        forge.assert_refused(token.rpartition(b".")[0] + b".")

    @pytest.mark.parametrize("digest", ["sha1", "sha224", "sha384", "sha512", "sha3_256", "md5"])
    @pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
    def test_another_hash_under_the_right_key_is_refused(self, forge: Forge, algorithm: str, digest: str) -> None:
        forge.assert_refused(forge.token({"alg": algorithm, "typ": "JWT"}, digest=digest))

    @pytest.mark.parametrize("header", [{"typ": "JWT"}, {}, {"ALG": "HS256"}, {"alg ": "HS256"}, {"enc": "HS256"}])
    def test_none_named_is_refused(self, forge: Forge, header: dict[str, str]) -> None:
        forge.assert_refused(forge.token(header))

    @pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256"])
    def test_a_public_key_is_no_secret(self, forge: Forge, algorithm: str) -> None:
        for public in (
            rsa.generate_private_key(65537, 2048).public_key(),
            ec.generate_private_key(ec.SECP256R1()).public_key(),
        ):
            for encoding in (Encoding.PEM, Encoding.DER):
                shown = public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
                for key in (shown, shown.strip(), shown + b"\n", base64.b64encode(shown)):
                    forge.assert_refused(forge.token({"alg": algorithm, "typ": "JWT"}, key=key))

    @pytest.mark.parametrize("key", [b"", b"\0", b"\0" * 32, b"secret", b"your-256-bit-secret", b"null", b"None"])
    def test_a_key_that_everybody_tries_is_not_ours(self, forge: Forge, key: bytes) -> None:
        forge.assert_refused(forge.token(key=key))


class TestSignature:
    @pytest.mark.parametrize("algorithm", ["ES256", "HS256", "EdDSA"])
    @pytest.mark.parametrize(
        "signature",
        [b"\0" * 64, bytes.fromhex("3006020100020100"), bytes.fromhex("3006020101020101"), b"\0" * 32, b"\xff" * 64,
         (b"\0" * 31 + b"\1") * 2,
         bytes.fromhex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551") * 2],
    )  # fmt: skip
    def test_a_psychic_one_is_refused(self, forge: Forge, algorithm: str, signature: bytes) -> None:
        signing_input = forge.token({"alg": algorithm, "typ": "JWT"}).rpartition(b".")[0]
        forge.assert_refused(signing_input + b"." + encode(signature))

    def test_empty_short_long_and_shifted_ones_are_refused(self, forge: Forge) -> None:
        signing_input = forge.token().rpartition(b".")[0]
        right = forge.sign(signing_input)
        forge.assert_accepted(signing_input + b"." + encode(right))
        others = [right[:length] for length in (0, 1, 8, 16, 31)]
        others += [
            right + b"\0",
            b"\0" + right,
            right + right,
            right[::-1],
            right[1:] + right[:1],
            right.hex().encode(),
        ]
        others += [forge.sign(signing_input, digest="sha512")[:32], forge.sign(signing_input.partition(b".")[2])]
        others += [forge.sign(part) for part in (b"", signing_input + b".", b"." + signing_input, signing_input + b" ")]
        for signature in others:
            forge.assert_refused(signing_input + b"." + encode(signature))

    def test_other_spellings_of_the_right_one_are_refused(self, forge: Forge) -> None:
        signing_input, _, encoded = forge.token().rpartition(b".")
        right = forge.sign(signing_input)
        for spelled in (
            encoded + b"=", encoded + b"==", b" " + encoded, encoded + b"%3D", right.hex().encode(), b'"%b"' % encoded,
            base64.b64encode(right), base64.b32encode(right), encoded[:10] + b" " + encoded[10:], encoded + b"\t.",
            encoded + b".", encoded + b"." + encoded, encoded + b"#", encoded + b"?x", encoded + b"\0", encoded + b",",
        ):  # fmt: skip
            forge.assert_refused(signing_input + b"." + spelled)

    def test_that_of_another_token_is_refused(self, forge: Forge) -> None:
        good, other = forge.token().split(b"."), forge.token(payload=forge.payload(scope="all")).split(b".")
        forge.assert_refused(b".".join([good[0], other[1], good[2]]))
        forge.assert_refused(b".".join([good[0] + good[1], other[1], good[2]]))


class TestKeysThatATokenBrings:
    @pytest.fixture
    def listener(self) -> Any:
        with socket.create_server(("127.0.0.1", 0)) as opened:
            opened.setblocking(False)  # noqa: FBT003 - its only parameter
            yield opened

    @pytest.mark.parametrize(
        "key_id",
        ["../../../../dev/null", "/dev/null", "file:///dev/null", "..\\..\\nul", "signing-keys.json",
        "/proc/self/environ",
         "' UNION SELECT 'AAAA' --", "1; DROP TABLE clients; --", "' OR '1'='1", "|touch {folder}/pwned", "0",
         "$(touch {folder}/pwned)", "`touch {folder}/pwned`", "; touch {folder}/pwned", "{url}/key", "%00", "\0", "",
         "x" * 4000,
         "${{jndi:ldap://127.0.0.1:{port}/x}}", ["a"], {"a": 1}, 0, None],
    )  # fmt: skip
    def test_a_key_id_leads_nowhere(self, forge: Forge, listener: Any, tmp_path: Path, key_id: Any) -> None:
        port = listener.getsockname()[1]
        if isinstance(key_id, str):
            facts = {"{folder}": str(tmp_path), "{url}": f"http://127.0.0.1:{port}", "{port}": str(port)}
            for name, value in facts.items():
                key_id = key_id.replace(name, value)
        header = {"alg": "HS256", "typ": "JWT", "kid": key_id}
        for key in (FOREIGN, b"", b"AAAA", b"\0"):
            forge.assert_refused(forge.token(header, key=key))
        forge.assert_accepted(forge.token(header))  # it is not looked at
        assert not (tmp_path / "pwned").exists()
        with pytest.raises(BlockingIOError):
            listener.accept()

    @pytest.mark.parametrize("algorithm", ["HS256", "RS256"])
    def test_no_key_is_taken_or_fetched(self, forge: Forge, listener: Any, algorithm: str) -> None:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/keys.json"
        jwk = {"kty": "oct", "alg": "HS256", "k": encode(FOREIGN).decode(), "kid": "1"}
        certificate = base64.b64encode(secrets.token_bytes(300)).decode()
        for brought in (
            {"jwk": jwk}, {"jwks": {"keys": [jwk]}}, {"jku": url}, {"x5u": url}, {"jku": url, "kid": "1"},
            {"x5c": [certificate]}, {"x5t": "AAAA"}, {"iss": url}, {"jku": [url]}, {"url": url, "p2s": "A",
            "p2c": 10**9},
        ):  # fmt: skip
            header = {"alg": algorithm, "typ": "JWT", **brought}
            forge.assert_refused(forge.token(header, key=FOREIGN))
        with pytest.raises(BlockingIOError):
            listener.accept()
        # The same listener does hear who calls.
        socket.create_connection(listener.getsockname()).close()
        listener.accept()[0].close()


class TestHeader:
    @pytest.mark.parametrize("critical", [[], ["exp"], ["b64"], ["alg"], [""], "exp", None, {}, 1])
    def test_a_critical_extension_is_refused(self, forge: Forge, critical: Any) -> None:
        forge.assert_refused(forge.token({"alg": "HS256", "typ": "JWT", "crit": critical, "exp": 1}))

    @pytest.mark.parametrize("b64", [False, True, None, "false", 0])
    def test_an_unencoded_payload_is_refused(self, forge: Forge, b64: Any) -> None:
        header = json.dumps({"alg": "HS256", "typ": "JWT", "b64": b64, "crit": ["b64"]}).encode()
        forge.assert_refused(forge.token(header))
        forge.assert_refused(forge.token({"alg": "HS256", "b64": b64}))
        signing_input = encode(header) + b"." + forge.payload().replace(b" ", b"").replace(b".", b"-")
        forge.assert_refused(signing_input + b"." + encode(forge.sign(signing_input)))

    @pytest.mark.parametrize(
        "header",
        ['{"alg":"HS256","alg":"none","typ":"JWT"}', '{"alg":"none","alg":"HS256","typ":"JWT"}',
         '{"alg":"HS256","\\u0061lg":"HS256"}', '{"alg":"HS256","typ":"JWT","typ":"JWT"}',
         '{"alg":"HS256","kid":1,"kid":2}',
         '{"alg":"HS256","x":{"a":1,"a":2}}', '{"alg":"HS256"}{"alg":"none"}', '{"alg":"HS256"},', '[{"alg":"HS256"}]',
         '"HS256"', "null", "", "{", '{"alg":"HS256",}', "{'alg':'HS256'}", '{"alg":"HS256"/**/}',
         '{"alg":"HS256","x":NaN}',
         '\ufeff{"alg":"HS256"}', '{"alg":"HS256","x":"\\ud800"}', '{"alg":"HS256","x":1e999}', '{"alg":"HS256"}\0'],
    )  # fmt: skip
    def test_one_that_readers_may_understand_differently_is_refused(self, forge: Forge, header: str) -> None:
        forge.assert_refused(forge.token(header.encode()))

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
    def test_another_encoding_than_utf_8_is_refused(self, forge: Forge, encoding: str) -> None:
        forge.assert_refused(forge.token('{"alg":"HS256","x":"\u00e9"}'.encode(encoding)))
        forge.assert_refused(forge.token(payload=forge.payload().decode().replace("ACME", "\u00e9").encode(encoding)))

    @pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "JWE", "JOSE", "jwt", "", None, 1, ["JWT"]])
    def test_another_type_is_refused(self, forge: Forge, typ: Any) -> None:
        forge.assert_refused(forge.token({"alg": "HS256", "typ": typ}))


NUMBERS = ["{}.0", '"{}"', "{}e0", "-{}", "true", "false", "null", "[{}]", "{{}}", '""', "NaN", "Infinity",
"-Infinity", "1e999",
           "-1e999", "1" + "0" * 400, "1" * 4400, "9007199254740992", "9223372036854775808", "18446744073709551617",
           "-1",
           "0x7fffffff", "+{}", "0{}", "1_000_000_000_000", "\u0661\u0662"]  # fmt: skip


class TestClaims:
    @pytest.mark.parametrize("name", ["exp", "nbf", "iat", "epoch"])
    @pytest.mark.parametrize("form", NUMBERS)
    def test_a_number_in_any_other_form_is_refused(self, forge: Forge, name: str, form: str) -> None:
        text = form.format(forge.claims[name])
        assert text != str(forge.claims[name])
        forge.assert_refused(forge.token(payload=forge.raw_claim(name, text)))

    @pytest.mark.parametrize("name", ["exp", "nbf", "iat", "epoch", "iss", "aud", "sub", "client_id", "merchant_id",
    "scope", "jti"])  # fmt: skip
    def test_one_that_is_missing_or_misspelled_is_refused(self, forge: Forge, name: str) -> None:
        forge.assert_refused(forge.token(payload=forge.payload(without=name)))
        for spelled in (name.upper(), f" {name}", f"{name}\0", name + name):
            changes = {spelled: forge.claims[name]}
            forge.assert_refused(forge.token(payload=forge.payload(without=name, **changes)))

    @pytest.mark.parametrize("name", ["exp", "nbf", "iat", "epoch", "iss", "aud", "sub", "client_id", "merchant_id",
    "scope", "jti"])  # fmt: skip
    def test_one_given_twice_is_refused_whichever_counts(self, forge: Forge, name: str) -> None:
        good = json.dumps(forge.claims[name])
        evil = '"urn:evil"' if good.startswith('"') else "1"
        escaped = f"\\u{ord(name[0]):04x}{name[1:]}"
        for first, second, spelled in (
            (good, evil, name),
            (evil, good, name),
            (good, good, name),
            (good, evil, escaped),
        ):
            text = f'{first},"{spelled}":{second}'
            forge.assert_refused(forge.token(payload=forge.raw_claim(name, text)))

    @pytest.mark.parametrize(
        "audience",
        ["null", '""', "[]", "{{}}", "1", '"urn:evil"', '["urn:evil"]', '"{aud} "', '" {aud}"', '"{aud},urn:evil"',
        '"{AUD}"',
         '[["{aud}"]]', '["{aud}",1]', '[null,"{aud}"]', '{{"{aud}":1}}', '"{aud}\\u0000"', '"{aud}/"', "true", '"*"'],
    )  # fmt: skip
    def test_another_audience_is_refused(self, forge: Forge, audience: str) -> None:
        expected = forge.claims["aud"]
        text = audience.format(aud=expected, AUD=expected.upper())
        forge.assert_refused(forge.token(payload=forge.raw_claim("aud", text)))

    @pytest.mark.parametrize("issuer", ["", "urn:evil", "{iss} ", "{iss}/", "{iss}\0", "{ISS}", "{iss}{iss}"])
    def test_another_issuer_is_refused(self, forge: Forge, issuer: str) -> None:
        text = issuer.format(iss=forge.claims["iss"], ISS=forge.claims["iss"].upper())
        forge.assert_refused(forge.token(payload=forge.payload(iss=text)))
        forge.assert_refused(forge.token(payload=forge.payload(iss=[forge.claims["iss"]])))

    def test_times_that_do_not_hold_are_refused(self, forge: Forge) -> None:
        now = forge.claims["iat"]
        for changes in (
            {"exp": now - 1}, {"exp": now}, {"exp": 0}, {"nbf": now + 100}, {"iat": now + 100}, {"nbf": 2**52},
            {"iat": now + 100, "exp": now + 50}, {"iat": now - 10, "exp": now - 10},
        ):  # fmt: skip
            forge.assert_refused(forge.token(payload=forge.payload(**changes)))

    @pytest.mark.parametrize("value", ["admin", "acme-aaaaaaaaaaaaa", "' OR 1=1 --", "%", "*", "ACME", "\0", ["acme"]])
    def test_another_client_is_refused(self, forge: Forge, value: Any) -> None:
        forge.assert_refused(forge.token(payload=forge.payload(sub=value, client_id=value)))
        forge.assert_refused(forge.token(payload=forge.payload(sub=value)))
        forge.assert_refused(forge.token(payload=forge.payload(client_id=value)))

    @pytest.mark.parametrize(
        "payload", [b"", b"null", b"[]", b"1", b'""', b"{}", b"{}{}", b"\xff", b"\0", b"not json", b"[[[[]]]]"]
    )
    def test_a_payload_that_is_no_object_of_claims_is_refused(self, forge: Forge, payload: bytes) -> None:
        forge.assert_refused(forge.token(payload=payload))


class TestSize:
    @pytest.mark.parametrize("depth", [100, 1000, 2900])
    @pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ("[", ""), ('{"a":', "}"), ('{"a":', "")])
    def test_deeply_nested_parts_are_refused_or_ignored_and_break_nothing(
        self, forge: Forge, depth: int, opening: str, closing: str
    ) -> None:
        depth = depth if opening == "[" else depth // 3
        nested = opening * depth + ("1" if closing else "") + closing * depth
        header = f'{{"alg":"HS256","x":{nested}}}'.encode()
        for token in (
            forge.token(header), forge.token(header, key=FOREIGN), forge.token(nested.encode()),
            forge.token(payload=nested.encode()), forge.token(payload=forge.raw_claim("x", nested)),
            forge.token(payload=forge.raw_claim("aud", nested)),
        ):  # fmt: skip
            assert forge.present(token).status_code in {200, 401}
        forge.assert_refused(forge.token(payload=nested.encode()))
        forge.assert_accepted(forge.token())

    @pytest.mark.parametrize("size", [8_000, 100_000, 1_000_000])
    def test_oversized_parts_are_refused(self, forge: Forge, size: int) -> None:
        for token in (
            forge.token({"alg": "HS256", "x": "x" * size}), forge.token(payload=forge.payload(x="x" * size)),
            forge.token() + b"A" * size, b"." * size, b"A" * size, b"A." * size, b"eyJ" * size,
        ):  # fmt: skip
            forge.assert_refused(token)

    def test_many_members_and_many_audiences_within_the_size_break_nothing(self, forge: Forge) -> None:
        names = ",".join(f'"{number}":0' for number in range(500))
        forge.assert_accepted(forge.token(payload=forge.raw_claim("x", f"{{{names}}}")))
        forge.assert_refused(forge.token(payload=forge.payload(aud=["a"] * 900)))


class TestForm:
    def test_encrypted_tokens_are_refused(self, forge: Forge) -> None:
        for algorithm, encryption in (("dir", "A128CBC-HS256"), ("A256KW", "A256GCM")):
            protected = {"alg": algorithm, "enc": encryption, "cty": "JWT"}
            five_parts = jwe.encrypt_compact(protected, forge.token(), OctKey.import_key(forge.key))
            assert five_parts.count(".") == 4
            forge.assert_refused(five_parts)
            forge.assert_refused(".".join(five_parts.split(".")[:3]))

    def test_the_json_serializations_are_refused(self, forge: Forge) -> None:
        header, payload, signature = forge.token().decode().split(".")
        parts = {"protected": header, "signature": signature}
        for token in (
            {"payload": payload, **parts},
            {"payload": payload, "signatures": [parts]},
            [header, payload, signature],
        ):
            text = json.dumps(token, separators=(",", ":"))
            forge.assert_refused(text)
            forge.assert_refused(encode(text.encode()))

    def test_a_token_inside_a_token_is_refused(self, forge: Forge) -> None:
        inner = forge.token()
        header = {"alg": "HS256", "typ": "JWT", "cty": "JWT"}
        for payload in (inner, b'"%b"' % inner, b'{"jwt":"%b"}' % inner, encode(inner)):
            forge.assert_refused(forge.token(header, payload=payload))

    def test_a_detached_payload_is_refused(self, forge: Forge) -> None:
        header, _, signature = forge.token().split(b".")
        forge.assert_refused(header + b".." + signature)
        forge.assert_refused(header + b"." + signature)
        detached = header + b"."
        forge.assert_refused(detached + b"." + encode(forge.sign(detached)))

    @pytest.mark.parametrize("space", [b" ", b"\t", b"%20", b"%0a", b"+", b"\x0b", b"\x0c", b"\xa0", b"\xe2\x80\x8b"])
    def test_white_space_inside_is_refused(self, forge: Forge, space: bytes) -> None:
        token = forge.token()
        for place in (1, token.index(b"."), token.index(b".") + 1, token.rindex(b"."), len(token) - 1):
            forge.assert_refused(token[:place] + space + token[place:])
            prefix = token[:place]
            if place < token.rindex(b"."):
                signing_input = prefix + space + token[place : token.rindex(b".")]
                forge.assert_refused(signing_input + b"." + encode(forge.sign(signing_input)))

    def test_unused_bits_that_are_set_are_refused_under_a_right_signature(self, forge: Forge) -> None:
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

        def sibling(part: bytes) -> bytes:
            return part[:-1] + bytes([alphabet[alphabet.index(part[-1]) ^ 1]])

        # Lengths that leave bits unused: 2 or 4 of them.
        headers = [json.dumps({"alg": "HS256", "x": "x" * size}).encode() for size in range(3)]
        payloads = [forge.payload(x="x" * size) for size in range(3)]
        refused = 0
        for header, payload in zip(headers, payloads, strict=True):
            for first, second in (
                (sibling(encode(header)), encode(payload)),
                (encode(header), sibling(encode(payload))),
            ):
                if len(first) % 4 != 0 and len(second) % 4 != 0:
                    signing_input = first + b"." + second
                    forge.assert_refused(signing_input + b"." + encode(forge.sign(signing_input)))
                    refused += 1
        assert refused
        token = forge.token()
        forge.assert_refused(sibling(token))

    def test_look_alikes_of_its_characters_are_refused(self, forge: Forge) -> None:
        token = forge.token().decode()
        for original, look_alike in (
            (".", "\uff0e"), (".", "\u3002"), (".", "\u2024"), ("e", "\u0435"), ("J", "\uff2a"), ("I", "\u0399"), (".",
            "%2E"),
            (".", "%252E"), ("e", "%65"), (".", "\\u002e"), (".", "&#46;"), (".", ":"), (".", "\xb7"),
        ):  # fmt: skip
            forge.assert_refused(token.replace(original, look_alike, 1))
            forge.assert_refused(token.replace(original, look_alike))

    def test_the_other_alphabet_and_padding_are_refused_under_a_right_signature(self, forge: Forge) -> None:
        payload = forge.payload(x="\u00ff\u00fe?>~" * 9)
        for encoded in (
            base64.b64encode(payload),
            base64.b64encode(payload).rstrip(b"="),
            base64.urlsafe_b64encode(payload + b" "),
        ):
            signing_input = forge.token().partition(b".")[0] + b"." + encoded
            if encoded != encode(payload):
                forge.assert_refused(signing_input + b"." + encode(forge.sign(signing_input)))

    @pytest.mark.parametrize("spoil", ["{0}.{0}", "{0},{0}", "{0} {0}", "{0};{0}", '"{0}"', "<{0}>", "Bearer {0}",
    "Bearer{0}",
                                       "{0}\\", "token={0}", "{{{0}}}", "{0}&{0}"])  # fmt: skip
    def test_a_good_token_with_anything_around_it_is_refused(self, forge: Forge, spoil: str) -> None:
        forge.assert_refused(spoil.format(forge.token().decode()))
