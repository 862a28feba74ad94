from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import OctKey

from ecross.verifier import InvalidTokenError
from ecross_server.auth.tokens import ENCODED_HEADER, KeySet, new_signing_keys
from ecross_server.kit.clock import utc_now
from ecross_server.kit.errors import UnavailableError
from ecross_server.kit.identifiers import random_hex
from ecross_server.kit.private_files import UnsafeFileError, write_private_file

ISSUER = "urn:ecross:auth"
AUDIENCE = "urn:ecross:api"


def jwks(*lengths: int) -> dict[str, Any]:
    """A set of fresh keys of so many bytes each."""
    document: dict[str, Any] = {"keys": []}
    for length in lengths or (32,):
        key = json.loads(new_signing_keys(utc_now()))["keys"][0]
        encoded = base64.urlsafe_b64encode(bytes(range(7, 7 + length))).rstrip(b"=").decode()
        document["keys"].append(key if length == 32 else key | {"k": encoded})
    return document


def secret_of(document: dict[str, Any], number: int = 0) -> bytes:
    text: str = document["keys"][number]["k"]
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def key_set(document: dict[str, Any], **changes: Any) -> KeySet:
    return KeySet(document, **({"issuer": ISSUER, "audience": AUDIENCE} | changes))


def signed_by(keys: KeySet, **changes: Any) -> str:
    now = int(time.time())
    values: dict[str, Any] = {
        "client_id": "acme-abcdefghijklm",
        "merchant_id": "ACME",
        "scope": "merchant",
        "epoch": 7,
        "token_id": random_hex(),
        "issued_at": now,
        "expires_at": now + 600,
    }
    return keys.sign(**(values | changes))


def payload_of(token: str) -> bytes:
    encoded = token.split(".")[1]
    return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4))


class TestSigning:
    def test_the_header_is_the_published_one_byte_for_byte(self) -> None:
        token = signed_by(key_set(jwks()))
        assert token.startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")
        assert base64.b64decode(ENCODED_HEADER + "==") == b'{"alg":"HS256","typ":"JWT"}'

    def test_the_claims_have_their_order_and_types(self) -> None:
        token = signed_by(key_set(jwks()), issued_at=1_700_000_000, expires_at=1_700_000_060)
        payload = payload_of(token)
        token_id = json.loads(payload)["jti"]
        assert re.fullmatch("[0-9a-f]{32}", token_id)
        assert payload.decode() == (
            f'{{"iss":"{ISSUER}","sub":"acme-abcdefghijklm","aud":"{AUDIENCE}","iat":1700000000,"nbf":1700000000,'
            f'"exp":1700000060,"jti":"{token_id}","client_id":"acme-abcdefghijklm","merchant_id":"ACME",'
            '"scope":"merchant","epoch":7}'
        )

    def test_no_two_tokens_have_the_same_id(self) -> None:
        keys = key_set(jwks())
        assert len({json.loads(payload_of(signed_by(keys)))["jti"] for _ in range(1000)}) == 1000

    def test_pyjwt_accepts_our_signature_and_refuses_it_under_another_key(self) -> None:
        document = jwks()
        token = signed_by(key_set(document))
        options: Any = {"require": ["iss", "sub", "aud", "iat", "nbf", "exp", "jti"]}
        claims = jwt.decode(
            token, secret_of(document), algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER, options=options
        )
        assert claims["client_id"] == "acme-abcdefghijklm"
        assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
        with pytest.raises(jwt.InvalidSignatureError):
            jwt.decode(token, secret_of(jwks()), algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER)

    def test_joserfc_accepts_our_signature_and_claims(self) -> None:
        document = jwks()
        token = joserfc_jwt.decode(
            signed_by(key_set(document)), OctKey.import_key(secret_of(document)), algorithms=["HS256"]
        )
        assert token.header == {"alg": "HS256", "typ": "JWT"}
        joserfc_jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            exp={"essential": True},
            nbf={"essential": True},
            iat={"essential": True},
            jti={"essential": True},
        ).validate(token.claims)

    @pytest.mark.parametrize("length", [32, 33, 64, 65, 100])
    def test_keys_of_every_length_from_256_bits_sign_as_the_oracle_does(self, length: int) -> None:
        document = jwks(length)
        claims = jwt.decode(
            signed_by(key_set(document)), secret_of(document), algorithms=["HS256"], audience=AUDIENCE, issuer=ISSUER
        )
        assert claims["epoch"] == 7

    # Whatever an operator may set as issuer or audience: quotes, percent signs, other scripts.
    @settings(deadline=None)
    @given(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30),
    )
    def test_any_issuer_and_audience_survive_signing(self, issuer: str, audience: str) -> None:
        document = jwks()
        keys = key_set(document, issuer=issuer, audience=audience)
        token = signed_by(keys)
        claims = jwt.decode(token, secret_of(document), algorithms=["HS256"], audience=audience, issuer=issuer)
        assert (claims["iss"], claims["aud"]) == (issuer, audience)
        assert keys.verifier.verify(token).client_id == "acme-abcdefghijklm"

    @pytest.mark.parametrize("text", ["%s", "%d %(a)s", "100%", '"', "\\", "}{", "%%"])
    def test_characters_of_formats_and_of_json_survive_in_issuer_and_audience(self, text: str) -> None:
        claims = json.loads(payload_of(signed_by(key_set(jwks(), issuer=text, audience=text))))
        assert (claims["iss"], claims["aud"]) == (text, text)

    def test_the_first_key_signs_and_all_verify(self) -> None:
        document = jwks(32, 32, 32)
        keys = key_set(document)
        assert len(keys) == 3
        jwt.decode(signed_by(keys), secret_of(document), algorithms=["HS256"], audience=AUDIENCE)
        for number in range(3):
            alone = key_set({"keys": [document["keys"][number]]})
            assert keys.verifier.verify(signed_by(alone)).epoch == 7

    def test_its_clock_decides_whether_a_token_lives(self) -> None:
        document = jwks()
        token = signed_by(key_set(document), issued_at=1000, expires_at=1060)
        assert key_set(document, clock=lambda: 1059.9).verifier.verify(token).expires_at == 1060
        with pytest.raises(InvalidTokenError, match="expired"):
            key_set(document, clock=lambda: 1060.0).verifier.verify(token)

    def test_its_repr_shows_no_key(self) -> None:
        document = jwks(32, 32)
        shown = repr(key_set(document)) + str(key_set(document))
        assert "keys=2" in shown
        for number, key in enumerate(document["keys"]):
            assert key["k"] not in shown
            assert secret_of(document, number).hex() not in shown


class TestFile:
    def write(self, path: Path, content: object) -> Path:
        write_private_file(path, content if isinstance(content, str) else json.dumps(content))
        return path

    def load(self, path: Path) -> KeySet:
        return KeySet.from_file(path, issuer=ISSUER, audience=AUDIENCE)

    def test_a_new_file_holds_one_key_of_256_bits_with_its_age(self) -> None:
        document = json.loads(new_signing_keys(utc_now()))
        (key,) = document["keys"]
        assert list(key) == ["kty", "alg", "use", "kid", "k", "createdAt"]
        assert (key["kty"], key["alg"], key["use"]) == ("oct", "HS256", "sig")
        assert len(secret_of(document)) == 32
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", key["createdAt"])

    def test_no_two_new_files_have_the_same_key_or_id(self) -> None:
        keys = [json.loads(new_signing_keys(utc_now()))["keys"][0] for _ in range(100)]
        assert len({key["k"] for key in keys}) == len({key["kid"] for key in keys}) == 100

    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_one_to_three_keys_are_taken(self, tmp_path: Path, count: int) -> None:
        assert len(self.load(self.write(tmp_path / "keys", jwks(*[32] * count)))) == count

    @pytest.mark.parametrize(
        "content",
        [
            {},
            {"keys": []},
            {"keys": {}},
            {"keys": ["text"]},
            {"keys": [{"kty": "oct"}]},
            {"keys": [{"kty": "RSA", "n": "AQAB", "e": "AQAB"}]},
            jwks(32, 32, 32, 32),
            jwks(31),
            jwks(32, 31),
            jwks(0),
            {"keys": [jwks()["keys"][0] | {"alg": "HS512"}]},
            {"keys": [jwks()["keys"][0] | {"alg": "none"}]},
            {"keys": [jwks()["keys"][0] | {"use": "enc"}]},
            {"keys": [jwks()["keys"][0] | {"k": 7}]},
            {"keys": [jwks()["keys"][0] | {"k": "not base64url!"}]},
            "[]",
            "not JSON",
            "",
            "[" * 100_000,
        ],
    )
    def test_a_file_without_fit_keys_is_refused_and_none_of_it_shown(self, tmp_path: Path, content: object) -> None:
        path = self.write(tmp_path / "keys", content)
        with pytest.raises(UnsafeFileError) as refused:
            self.load(path)
        assert str(path) in refused.value.message
        assert refused.value.__cause__ is None
        for secret in re.findall(r'"k": "([^"]+)"', path.read_text()):
            assert secret not in refused.value.message

    @pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o644])
    def test_a_file_that_others_may_use_is_refused(self, tmp_path: Path, mode: int) -> None:
        path = self.write(tmp_path / "keys", jwks())
        path.chmod(mode)
        with pytest.raises(UnsafeFileError, match="chmod 600"):
            self.load(path)

    def test_a_missing_file_is_said_to_be_missing(self, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError, match="cannot be read"):
            self.load(tmp_path / "none")
