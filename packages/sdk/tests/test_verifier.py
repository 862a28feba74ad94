import base64
import contextlib
import copy
import dataclasses
import hmac
import json
import math
import os
import pickle
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import OctKey

from ecross.jws import InvalidKeyError, InvalidTokenError
from ecross.verifier import Claims, TokenVerifier

SECRET = bytes(range(32))
SECRETS = [SECRET, bytes(range(1, 33)), bytes(range(2, 34)), bytes(range(3, 35))]
ISSUER = "urn:ecross:auth"
AUDIENCE = "urn:ecross:api"
NOW = 1_800_000_000
WIRE: dict[str, object] = {
    "iss": ISSUER,
    "sub": "acme-abcdefghijklm",
    "aud": AUDIENCE,
    "iat": NOW,
    "nbf": NOW,
    "exp": NOW + 28_800,
    "jti": "Zm9vYmFyYmF6",
    "client_id": "acme-abcdefghijklm",
    "merchant_id": "ACME",
    "scope": "catalog:read catalog:write",
    "epoch": 3,
}


class Clock:
    """Time that stands still until it is set."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(payload: bytes, secret: bytes = SECRET, header: bytes = b'{"alg":"HS256","typ":"JWT"}') -> str:
    signing_input = f"{b64url(header)}.{b64url(payload)}"
    return f"{signing_input}.{b64url(hmac.digest(secret, signing_input.encode(), 'sha256'))}"


def issue(secret: object = SECRET, **claims: object) -> str:
    assert isinstance(secret, bytes)  # an object to type checkers, which suspect any claim of being it
    return sign(json.dumps({**WIRE, **claims}).encode(), secret)


def key_set(*chosen: bytes) -> dict[str, object]:
    return {"keys": [{"kty": "oct", "alg": "HS256", "use": "sig", "k": b64url(secret)} for secret in chosen]}


def verifier(
    *chosen: bytes, clock: Clock | None = None, leeway_seconds: float = 0, cache_size: int = 4096
) -> TokenVerifier:
    return TokenVerifier(
        keys=key_set(*(chosen or (SECRET,))),
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway_seconds=leeway_seconds,
        cache_size=cache_size,
        clock=clock or Clock(),
    )


def refusal(token: object, by: TokenVerifier | None = None) -> InvalidTokenError:
    with pytest.raises(InvalidTokenError) as caught:
        (by or verifier()).verify(token)  # type: ignore[arg-type]  # also what is no token
    return caught.value


class TestGoodTokens:
    def test_the_claims_are_returned_by_name(self) -> None:
        assert verifier().verify(issue()) == Claims(
            issuer=ISSUER,
            subject="acme-abcdefghijklm",
            audience=AUDIENCE,
            issued_at=NOW,
            not_before=NOW,
            expires_at=NOW + 28_800,
            token_id="Zm9vYmFyYmF6",
            client_id="acme-abcdefghijklm",
            merchant_id="ACME",
            scope="catalog:read catalog:write",
            epoch=3,
        )

    def test_a_token_is_taken_as_text_and_as_bytes(self) -> None:
        by = verifier()

        assert by.verify(issue().encode()) is by.verify(issue())

    @pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["urn:other", AUDIENCE, "urn:third"]])
    def test_an_audience_among_several_is_enough(self, audience: object) -> None:
        assert verifier().verify(issue(aud=audience)).audience == AUDIENCE

    def test_further_claims_are_ignored(self) -> None:
        assert verifier().verify(issue(extra={"a": [1]}, azp="x")).merchant_id == "ACME"

    @pytest.mark.parametrize(
        ("scope", "scopes"),
        [
            ("", set()),
            ("catalog:read", {"catalog:read"}),
            ("b a b", {"a", "b"}),
            (" a  b ", {"a", "b"}),
            ("a\u00a0b", {"a\u00a0b"}),
        ],
    )
    def test_scopes_are_the_words_of_the_scope(self, scope: str, scopes: set[str]) -> None:
        assert verifier().verify(issue(scope=scope)).scopes == scopes

    @pytest.mark.parametrize(
        ("scope", "allowed"),
        [
            ("catalog:read", {"catalog:read"}),
            ("merchant", {"catalog:read", "catalog:write", "orders:read", "merchant", "anything"}),
            ("merchant:read", {"catalog:read", "orders:read"}),
            ("merchant:read catalog:write", {"catalog:read", "catalog:write", "orders:read"}),
            ("catalog:write", {"catalog:write"}),
            ("merchants catalog", set()),
            ("", set()),
        ],
    )
    def test_a_scope_allows_itself_and_merchant_allows_all_or_all_that_reads(
        self, scope: str, allowed: set[str]
    ) -> None:
        claims = verifier().verify(issue(scope=scope))

        asked = ("catalog:read", "catalog:write", "orders:read", "merchant", "anything")
        assert {each for each in asked if claims.may(each)} == allowed

    def test_claims_cannot_be_changed(self) -> None:
        claims = verifier().verify(issue())

        with pytest.raises(dataclasses.FrozenInstanceError):
            claims.merchant_id = "OTHER"  # type: ignore[misc]  # the point of the test
        assert not hasattr(claims, "__dict__")

    @pytest.mark.parametrize("secret", SECRETS[:3])
    def test_each_of_three_live_keys_may_have_signed(self, secret: bytes) -> None:
        assert verifier(*SECRETS[:3]).verify(issue(secret)).epoch == 3

    def test_a_retired_key_no_longer_counts(self) -> None:
        assert refusal(issue(SECRETS[3]), verifier(*SECRETS[:3])).reason == "bad_signature"

    def test_the_real_clock_is_the_default(self) -> None:
        now = int(time.time())
        by = TokenVerifier(keys=key_set(SECRET), issuer=ISSUER, audience=AUDIENCE)

        assert by.verify(issue(iat=now, nbf=now, exp=now + 60)).expires_at == now + 60
        assert refusal(issue(iat=now - 60, nbf=now - 60, exp=now), by).reason == "expired"

    def test_pyjwt_and_joserfc_make_tokens_that_are_accepted(self) -> None:
        by_pyjwt = jwt.encode(WIRE, SECRET, algorithm="HS256")
        by_joserfc = joserfc_jwt.encode({"alg": "HS256"}, WIRE, OctKey.import_key(SECRET))

        assert verifier().verify(by_pyjwt) == verifier().verify(by_joserfc) == verifier().verify(issue())

    @given(
        st.fixed_dictionaries(
            {
                "sub": st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
                "jti": st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
                "merchant_id": st.from_regex(r"[A-Z0-9_]{2,32}", fullmatch=True),
                "scope": st.text(st.characters(codec="utf-8"), max_size=20),
                "epoch": st.integers(0, 2**53 - 1),
                "exp": st.integers(NOW + 1, 2**53 - 1),
                "iat": st.integers(0, NOW),
                "nbf": st.integers(0, NOW),
            }
        )
    )
    def test_whatever_was_issued_is_read_back(self, claims: dict[str, object]) -> None:
        token = issue(client_id=claims["sub"], **claims)

        read = verifier().verify(token)

        assert (read.subject, read.client_id) == (claims["sub"], claims["sub"])
        assert (read.token_id, read.merchant_id, read.scope) == (claims["jti"], claims["merchant_id"], claims["scope"])
        assert (read.epoch, read.expires_at, read.issued_at) == (claims["epoch"], claims["exp"], claims["iat"])
        assert read.not_before == claims["nbf"]


class TestTimes:
    def test_a_token_is_refused_from_the_very_second_of_its_expiry(self) -> None:
        clock = Clock()
        for by in (verifier(clock=clock), verifier(clock=clock, cache_size=0)):
            clock.now = NOW + 28_799.999
            by.verify(issue())
            clock.now = NOW + 28_800
            assert refusal(issue(), by).reason == "expired"
            clock.now = NOW + 10**9
            assert refusal(issue(), by).reason == "expired"

    def test_a_leeway_is_added_to_the_expiry(self) -> None:
        clock = Clock(NOW + 28_800 + 29.9)
        by = verifier(clock=clock, leeway_seconds=30)

        by.verify(issue())
        clock.now = NOW + 28_830
        assert refusal(issue(), by).reason == "expired"

    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    def test_a_token_from_the_future_is_refused(self, claim: str) -> None:
        assert refusal(issue(**{claim: NOW + 2})).reason == "not_yet_valid"
        assert refusal(issue(**{claim: NOW + 3600})).reason == "not_yet_valid"

    @pytest.mark.parametrize("claim", ["nbf", "iat"])
    def test_a_clock_up_to_a_second_behind_the_issuers_does_not_matter(self, claim: str) -> None:
        verifier(clock=Clock(NOW - 0.999)).verify(issue())
        verifier().verify(issue(**{claim: NOW + 1}))
        assert refusal(issue(), verifier(clock=Clock(NOW - 1.001))).reason == "not_yet_valid"

    def test_a_leeway_is_added_to_the_second_of_grace(self) -> None:
        by = verifier(leeway_seconds=30)

        by.verify(issue(nbf=NOW + 31))
        assert refusal(issue(nbf=NOW + 32), by).reason == "not_yet_valid"

    def test_a_token_becomes_valid_with_time(self) -> None:
        clock = Clock()
        by = verifier(clock=clock)

        assert refusal(issue(nbf=NOW + 60), by).reason == "not_yet_valid"
        clock.now = NOW + 60
        by.verify(issue(nbf=NOW + 60))

    @pytest.mark.parametrize("exp", [NOW, NOW - 1, 0])
    def test_a_token_that_ends_before_it_was_issued_is_refused(self, exp: int) -> None:
        assert refusal(issue(exp=exp)).reason == "bad_claim"

    @pytest.mark.parametrize("leeway", [-1, -0.1, math.inf, math.nan])
    def test_an_unfit_leeway_is_refused(self, leeway: float) -> None:
        with pytest.raises(ValueError, match="leeway_seconds"):
            verifier(leeway_seconds=leeway)


class TestClaims:
    @pytest.mark.parametrize("name", WIRE)
    def test_every_claim_must_be_there(self, name: str) -> None:
        wire = {key: value for key, value in WIRE.items() if key != name}

        error = refusal(sign(json.dumps(wire).encode()))

        assert error.reason == "missing_claim"
        assert str(error) == f"The token lacks the claim {name}."

    @pytest.mark.parametrize("name", ["iss", "sub", "jti", "client_id", "merchant_id", "scope"])
    @pytest.mark.parametrize("value", [None, True, False, 0, 1, 1.5, [], {}, ["x"], 10**400])
    def test_a_claim_that_must_be_text_is_nothing_else(self, name: str, value: object) -> None:
        error = refusal(issue(**{name: value}))

        assert error.reason == "bad_claim"
        assert name in str(error)

    @pytest.mark.parametrize("name", ["iss", "sub", "jti", "client_id", "merchant_id"])
    def test_a_claim_that_names_something_is_not_empty(self, name: str) -> None:
        assert refusal(issue(**{name: ""})).reason == "bad_claim"

    @pytest.mark.parametrize("name", ["iat", "nbf", "exp", "epoch"])
    @pytest.mark.parametrize(
        "value",
        [None, True, False, "1", "", [], {}, [NOW], 1.5, float(NOW), 1.8e9, -1, -(2**63), 2**53, 2**63, 2**64, 10**400],
        ids=str,
    )
    def test_a_claim_that_must_be_a_number_is_a_sane_integer(self, name: str, value: object) -> None:
        error = refusal(issue(**{name: value}))

        assert error.reason == "bad_claim"
        assert name in str(error)

    @pytest.mark.parametrize("number", ["1e400", "NaN", "Infinity", "-Infinity", "9" * 5000])
    @pytest.mark.parametrize("name", ["exp", "iat", "epoch"])
    def test_numbers_beyond_numbers_are_refused(self, name: str, number: str) -> None:
        payload = json.dumps({**WIRE, name: "@"}).replace('"@"', number).encode()

        assert refusal(sign(payload)).reason == "malformed"

    def test_the_subject_is_the_client(self) -> None:
        assert refusal(issue(sub="other-abcdefghijklm")).reason == "bad_claim"

    @pytest.mark.parametrize(
        "issuer", ["urn:ecross:other", "URN:ECROSS:AUTH", ISSUER + "/", ISSUER[:-1], ISSUER + "\x00", " "]
    )
    def test_another_issuer_is_refused(self, issuer: str) -> None:
        assert refusal(issue(iss=issuer)).reason == "wrong_issuer"

    @pytest.mark.parametrize(
        "audience",
        ["urn:ecross:other", "", AUDIENCE + " ", AUDIENCE.upper(), ["urn:other"], ["urn:other", ""], [AUDIENCE[:-1]]],
    )
    def test_another_audience_is_refused(self, audience: object) -> None:
        assert refusal(issue(aud=audience)).reason == "wrong_audience"

    @pytest.mark.parametrize(
        "audience", [None, True, 1, 1.5, {}, [], {AUDIENCE: 1}, [AUDIENCE, 1], [AUDIENCE, None], [[AUDIENCE]]], ids=str
    )
    def test_an_audience_that_is_neither_text_nor_texts_is_refused(self, audience: object) -> None:
        assert refusal(issue(aud=audience)).reason == "bad_claim"

    @pytest.mark.parametrize(
        "payload",
        [
            b"", b"null", b"[]", b'"x"', b"1", b"{", b"\xff", b'{"iss":"\\ud800"}', b"[" * 4000,
            b"[" * 2000 + b"]" * 2000, b'{"a":' * 1000, b"\xef\xbb\xbf{}",
            json.dumps(WIRE).encode("utf-16"), json.dumps([WIRE]).encode(),
            json.dumps(WIRE).encode() + b"x",
        ],
        ids=range(15),
    )  # fmt: skip
    def test_a_payload_that_is_no_strict_json_object_is_refused(self, payload: bytes) -> None:
        assert refusal(sign(payload)).reason == "malformed"

    @pytest.mark.parametrize("name", WIRE)
    def test_a_claim_given_twice_is_refused(self, name: str) -> None:
        payload = json.dumps(WIRE)[:-1] + f", {json.dumps(name)}: {json.dumps(WIRE[name])}}}"

        assert refusal(sign(payload.encode())).reason == "malformed"

    def test_a_member_given_twice_deep_inside_is_refused(self) -> None:
        payload = json.dumps(WIRE)[:-1] + ', "x": [{"a": 1, "a": 1}]}'

        assert refusal(sign(payload.encode())).reason == "malformed"

    def test_an_unpaired_surrogate_in_a_claim_is_refused(self) -> None:
        assert refusal(issue(jti="\ud800")).reason == "malformed"
        assert refusal(issue(extra={"\udfff": 1})).reason == "malformed"


class TestForgeries:
    def test_a_token_signed_with_another_key_is_refused(self) -> None:
        assert refusal(issue(SECRETS[1])).reason == "bad_signature"

    def test_changed_claims_are_refused(self) -> None:
        header, _, signature = issue().split(".")
        payload = b64url(json.dumps({**WIRE, "merchant_id": "OTHER"}).encode())

        assert refusal(f"{header}.{payload}.{signature}").reason == "bad_signature"

    @pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "HS384", "RS256", "", "hs256"])
    def test_an_algorithm_of_the_tokens_choice_is_refused(self, algorithm: str) -> None:
        header = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()
        signed = sign(json.dumps(WIRE).encode(), header=header)

        assert refusal(signed).reason == "bad_header"
        assert refusal(signed.rpartition(".")[0] + ".").reason == "bad_signature"

    @pytest.mark.parametrize("typ", ["jwt", "at+jwt", "JWE", "", None])
    def test_another_type_than_jwt_is_refused(self, typ: object) -> None:
        header = json.dumps({"alg": "HS256", "typ": typ}).encode()

        assert refusal(sign(json.dumps(WIRE).encode(), header=header)).reason == "bad_header"

    def test_a_token_longer_than_8_kib_is_refused(self) -> None:
        assert refusal(issue(extra="x" * 6500)).reason == "too_long"
        assert verifier().verify(issue(extra="x" * 5000)).epoch == 3

    @pytest.mark.parametrize("token", [None, 1, [], {}, object(), bytearray(b"a.b.c")])
    def test_what_is_no_text_is_refused(self, token: object) -> None:
        assert refusal(token).reason == "malformed"

    @given(st.text() | st.binary())
    def test_arbitrary_text_is_refused_and_never_breaks_anything(self, token: str | bytes) -> None:
        refusal(token)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec="utf-8"), max_size=5),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
            max_leaves=5,
        ),
        st.sampled_from(list(WIRE)),
    )
    def test_arbitrary_claims_under_a_good_signature_never_break_anything(self, value: object, name: str) -> None:
        try:
            claims = verifier().verify(issue(**{name: value}))
        except InvalidTokenError:
            return
        assert isinstance(claims, Claims)

    @given(st.data())
    def test_a_change_of_any_one_character_is_refused_even_where_the_token_is_remembered(
        self, data: st.DataObject
    ) -> None:
        by = verifier()
        token = issue()
        by.verify(token)
        place = data.draw(st.integers(0, len(token) - 1))
        character = data.draw(st.sampled_from("AZaz09-_=.+/ \n"))

        changed = token[:place] + character + token[place + 1 :]

        if changed != token:
            refusal(changed, by)

    def test_what_pyjwt_and_joserfc_refuse_is_refused(self) -> None:
        expired = issue(exp=NOW - 1, iat=NOW - 2, nbf=NOW - 2)
        with pytest.raises(jwt.ExpiredSignatureError):
            jwt.decode(issue(iat=0, nbf=0, exp=1), SECRET, algorithms=["HS256"], audience=AUDIENCE)
        with pytest.raises(jwt.InvalidAudienceError):
            jwt.decode(issue(iat=0, nbf=0, aud="x"), SECRET, algorithms=["HS256"], audience=AUDIENCE)

        assert joserfc_jwt.decode(expired, OctKey.import_key(SECRET)).claims["exp"] == NOW - 1  # it takes a second call
        assert refusal(expired).reason == "expired"
        assert refusal(issue(aud="x")).reason == "wrong_audience"


class TestKeySets:
    def test_a_key_set_is_read_from_a_file(self, tmp_path: Path) -> None:
        path = tmp_path / "keys.json"
        keys = {"keys": [{"kty": "oct", "k": b64url(SECRET), "createdAt": "2026-03-04T15:30:00Z", "kid": "1"}], "x": 1}
        path.write_text(json.dumps(keys))

        for given_path in (path, str(path)):
            by = TokenVerifier(keys=given_path, issuer=ISSUER, audience=AUDIENCE, clock=Clock())
            assert by.verify(issue()).epoch == 3

    @pytest.mark.parametrize("count", [0, 4, 10])
    def test_a_set_of_no_or_too_many_keys_is_refused(self, count: int) -> None:
        with pytest.raises(InvalidKeyError, match=rf"1 to 3 keys is needed, this has {count}\."):
            TokenVerifier(keys=key_set(*[SECRET] * count), issuer=ISSUER, audience=AUDIENCE)

    @pytest.mark.parametrize(
        "keys",
        [None, 5, [], [{"kty": "oct"}], {}, {"keys": None}, {"keys": {}}, {"keys": "x"}, {"keys": [1]},
         {"keys": [None]}, {"kty": "oct", "k": b64url(SECRET)}, SECRET],
        ids=str,
    )  # fmt: skip
    def test_what_is_no_jwk_set_is_refused(self, keys: object) -> None:
        with pytest.raises(InvalidKeyError, match="no JWK Set"):
            TokenVerifier(keys=keys, issuer=ISSUER, audience=AUDIENCE)  # type: ignore[arg-type]  # the point of the test

    @pytest.mark.parametrize(
        "unfit",
        [{"kty": "RSA"}, {"use": "enc"}, {"key_ops": ["sign"]}, {"alg": "HS512"}, {"k": "AAAA"}, {"k": None}],
        ids=str,
    )
    def test_one_unfit_key_spoils_the_set(self, unfit: dict[str, object]) -> None:
        good = {"kty": "oct", "k": b64url(SECRET)}

        with pytest.raises(InvalidKeyError) as caught:
            TokenVerifier(keys={"keys": [good, {**good, **unfit}]}, issuer=ISSUER, audience=AUDIENCE)
        assert caught.value.reason == "bad_key"

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b'{"keys": [hunter2]}', "no strict JSON: not JSON at line 1, column 11"),
            (b'{"keys": [], "keys": [], "hunter2": 1}', "no strict JSON: a member is named twice"),
            (b"\xffhunter2", "no strict JSON: not UTF-8"),
            (b'"hunter2"', "no JWK Set"),
            (b'{"keys": []}', "this has 0"),
            (b'{"keys": [{"kty": "oct", "k": "hunter2hunter2"}]}', "base64url|too short"),
            (b"", "no strict JSON"),
        ],
        ids=range(7),
    )
    def test_an_unfit_file_is_named_but_not_quoted(self, tmp_path: Path, content: bytes, fault: str) -> None:
        path = tmp_path / "keys.json"
        path.write_bytes(content)

        with pytest.raises(InvalidKeyError, match=fault) as caught:
            TokenVerifier(keys=path, issuer=ISSUER, audience=AUDIENCE)

        assert str(path) in str(caught.value)
        assert "hunter2" not in f"{caught.value!r}"
        assert caught.value.__context__ is None

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(
            InvalidKeyError, match=r"absent\.json: The file cannot be read \(No such file or directory\)"
        ):
            TokenVerifier(keys=tmp_path / "absent.json", issuer=ISSUER, audience=AUDIENCE)
        with pytest.raises(InvalidKeyError, match=r"cannot be read \(Is a directory\)"):
            TokenVerifier(keys=os.fspath(tmp_path), issuer=ISSUER, audience=AUDIENCE)

    @pytest.mark.parametrize(("issuer", "audience"), [("", AUDIENCE), (ISSUER, "")])
    def test_issuer_and_audience_must_be_given(self, issuer: str, audience: str) -> None:
        with pytest.raises(ValueError, match="must not be empty"):
            TokenVerifier(keys=key_set(SECRET), issuer=issuer, audience=audience)


KEYS_LOGGER = "ecross.verifier"


def write_keys(path: Path, *chosen: bytes) -> None:
    """Put the keys in the place of what is there, at once and whole."""
    new = path.with_name("new")
    new.write_text(json.dumps(key_set(*chosen)))
    new.replace(path)


_listeners: list[list[object]] = []


def _tell_what_is_opened(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open":
        for opened in _listeners:
            opened.append(arguments[0])


sys.addaudithook(_tell_what_is_opened)  # once: an audit hook cannot be taken away again


@contextlib.contextmanager
def noting_what_is_opened() -> Iterator[list[object]]:
    """The paths of all files that are opened meanwhile."""
    opened: list[object] = []
    _listeners.append(opened)
    yield opened
    _listeners.remove(opened)


class TestFollowingAKeyFile:
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "keys.json"
        write_keys(path, SECRETS[0])
        return path

    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def by(self, path: Path, clock: Clock) -> TokenVerifier:
        return TokenVerifier(keys=path, issuer=ISSUER, audience=AUDIENCE, clock=clock)

    def test_a_token_of_a_new_key_is_good_at_once(self, by: TokenVerifier, path: Path) -> None:
        assert refusal(issue(SECRETS[1]), by).reason == "bad_signature"
        write_keys(path, SECRETS[1], SECRETS[0])

        assert by.verify(issue(SECRETS[1])).epoch == 3
        assert by.verify(issue(SECRETS[0])).epoch == 3
        assert "keys=2" in repr(by)

    def test_a_key_that_is_gone_is_refused_within_a_second_even_for_tokens_seen_before(
        self, by: TokenVerifier, path: Path, clock: Clock
    ) -> None:
        by.verify(issue(SECRETS[0]))
        write_keys(path, SECRETS[1])

        clock.now = NOW + 0.999
        by.verify(issue(SECRETS[0]))
        clock.now = NOW + 1
        assert refusal(issue(SECRETS[0]), by).reason == "bad_signature"
        assert refusal(issue(SECRETS[0]), by).reason == "bad_signature"

    def test_a_clock_that_is_set_back_does_not_keep_a_file_from_being_looked_at(
        self, by: TokenVerifier, path: Path, clock: Clock
    ) -> None:
        clock.now = NOW + 20_000
        by.verify(issue(SECRETS[0]))
        write_keys(path, SECRETS[1])

        clock.now = NOW
        assert refusal(issue(SECRETS[0]), by).reason == "bad_signature"

    def test_a_file_written_in_place_within_the_same_instant_and_size_is_taken(
        self, by: TokenVerifier, path: Path, clock: Clock
    ) -> None:
        before = path.stat()
        path.write_text(json.dumps(key_set(SECRETS[1])))  # the same file and length
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

        clock.now = NOW + 1
        assert by.verify(issue(SECRETS[1])).epoch == 3

    def test_an_unchanged_file_is_read_twice_and_then_only_looked_at(
        self, by: TokenVerifier, path: Path, clock: Clock
    ) -> None:
        token = issue(SECRETS[0])
        first = by.verify(token)
        with noting_what_is_opened() as opened:
            for second in range(1, 6):
                clock.now = NOW + second
                assert by.verify(token) is first  # what is remembered stays
            for _ in range(5):
                refusal(issue(SECRETS[1]), by)

        assert opened.count(str(path)) == 1

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda path: path.unlink(),
            lambda path: path.write_bytes(b""),
            lambda path: path.write_bytes(path.read_bytes()[:40]),
            lambda path: write_keys(path, *[SECRET] * 4),
            lambda path: write_keys(path, b"short"),
        ],
        ids=["missing", "empty", "half", "too many", "too short"],
    )
    def test_with_a_file_that_cannot_be_used_the_keys_from_before_stay(
        self,
        by: TokenVerifier,
        path: Path,
        clock: Clock,
        spoil: Callable[[Path], object],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level("INFO", KEYS_LOGGER)
        spoil(path)

        for second in range(1, 6):
            clock.now = NOW + second
            assert by.verify(issue(SECRETS[0])).epoch == 3
            assert refusal(issue(SECRETS[1]), by).reason == "bad_signature"

        (warning,) = caplog.records  # not one a second
        assert warning.levelname == "WARNING"
        assert str(path) in warning.getMessage()
        assert b64url(SECRET) not in warning.getMessage()
        assert warning.exc_info is None
        write_keys(path, SECRETS[1])
        assert by.verify(issue(SECRETS[1])).epoch == 3
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
        assert str(path) in caplog.messages[1]

    def test_a_file_that_comes_back_as_it_was_is_told(
        self, by: TokenVerifier, path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level("INFO", KEYS_LOGGER)
        aside = path.with_name("aside")
        for second in range(1, 4):  # also once it was seen unchanged for a while
            clock.now = NOW + second
            by.verify(issue(SECRETS[0]))
        path.rename(aside)
        clock.now = NOW + 4
        by.verify(issue(SECRETS[0]))
        aside.rename(path)

        for second in range(5, 8):
            clock.now = NOW + second
            by.verify(issue(SECRETS[0]))
        assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]

    def test_forged_tokens_do_not_have_an_unusable_file_read_each_time(self, by: TokenVerifier, path: Path) -> None:
        path.unlink()
        refusal(issue(SECRETS[1]), by)
        with noting_what_is_opened() as opened:
            for _ in range(5):
                refusal(issue(SECRETS[1]), by)

        assert str(path) not in opened

    def test_threads_never_refuse_a_token_of_a_key_that_stays_while_the_file_is_replaced(self, path: Path) -> None:
        by = TokenVerifier(keys=path, issuer=ISSUER, audience=AUDIENCE, cache_size=0)
        token = issue(iat=0, nbf=0, exp=2**50)
        is_done = threading.Event()

        def ask() -> int:
            count = 0
            while not is_done.is_set():
                by.verify(token)
                with contextlib.suppress(InvalidTokenError):  # makes it look at the file
                    by.verify(issue(SECRETS[3]))
                count += 1
            return count

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            for number in range(100):
                write_keys(path, SECRETS[1 + number % 2], SECRET)
            is_done.set()
            assert all(each.result() for each in asking)

    @pytest.mark.parametrize("now", [math.nan, math.inf])
    def test_a_clock_that_gives_no_number_lets_nothing_pass(
        self, by: TokenVerifier, path: Path, clock: Clock, now: float
    ) -> None:
        mapped = verifier(clock=clock)
        for each in (by, mapped):
            each.verify(issue())
        clock.now = now
        for each in (by, mapped):
            assert refusal(issue(), each).reason == "expired"
            assert refusal(issue(jti="never seen"), each).reason == "expired"
        clock.now = NOW
        for each in (by, mapped):
            assert each.verify(issue()).epoch == 3
        assert path.exists()


class TestSecrecy:
    def test_a_verifier_shows_whom_it_serves_and_no_key(self) -> None:
        by = verifier(SECRETS[0], SECRETS[1])

        assert repr(by) == "TokenVerifier(issuer='urn:ecross:auth', audience='urn:ecross:api', keys=2)"
        assert not hasattr(by, "__dict__")

    def test_a_verifier_is_neither_copied_nor_pickled(self) -> None:
        for act in (copy.copy, copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="holds keys"):
                act(verifier())

    @pytest.mark.parametrize(
        "token",
        [
            issue(jti=["hunter2"]),
            issue(merchant_id=["hunter2"]),
            issue(sub="hunter2"),
            issue(iss="hunter2"),
            issue(aud="hunter2"),
            issue(aud={"hunter2": 1}),
            issue(exp="hunter2"),
            issue(exp=1234567),
            issue(iat=NOW + 1234567),
            issue(hunter2="\ud800"),
            sign(b'{"hunter2":1,"hunter2":2}'),
            sign(b"hunter2"),
        ],
        ids=range(12),
    )
    def test_a_refusal_holds_nothing_of_the_token_and_no_other_error_that_does(self, token: str) -> None:
        error = refusal(token)

        shown = f"{error} {error!r} {error.args} {vars(error)} {pickle.dumps(error)!r}"
        assert "hunter2" not in shown
        assert "1234567" not in shown
        assert not any(part in shown for part in token.split("."))
        assert error.__context__ is None
        assert error.__cause__ is None

    def test_the_cache_holds_digests_and_never_tokens(self) -> None:
        by = verifier()
        token = issue()
        by.verify(token)

        (digest,) = by._trusted.recent
        assert len(digest) == 32
        assert token not in repr(by._trusted.recent)


class TestCache:
    def test_a_token_seen_before_is_not_read_again(self) -> None:
        by = verifier()

        assert by.verify(issue()) is by.verify(issue())

    def test_without_a_cache_every_token_is_read_again(self) -> None:
        by = verifier(cache_size=0)

        assert by.verify(issue()) is not by.verify(issue())
        assert by.verify(issue()) == by.verify(issue())

    def test_a_remembered_token_expires_too(self) -> None:
        clock = Clock()
        by = verifier(clock=clock)
        by.verify(issue())

        clock.now = NOW + 28_800
        assert refusal(issue(), by).reason == "expired"
        clock.now = NOW - 10
        assert refusal(issue(), by).reason == "not_yet_valid"

    def test_a_token_expires_in_the_older_generation_too(self) -> None:
        clock = Clock()
        by = verifier(clock=clock, cache_size=2)
        by.verify(issue())
        by.verify(issue(jti="other"))

        clock.now = NOW + 28_800
        assert refusal(issue(), by).reason == "expired"

    def test_refused_tokens_are_not_remembered(self) -> None:
        by = verifier()
        for token in (
            issue(SECRETS[1]),
            issue(aud="x"),
            issue(exp=NOW + 1, iat=NOW + 100),
            issue(nbf=NOW + 99),
            "junk",
        ):
            refusal(token, by)
        by.verify(issue())

        assert len(by._trusted.recent) + len(by._trusted.older) == 1

    @pytest.mark.parametrize("size", [0, 1, 2, 3, 10])
    def test_the_cache_does_not_grow_beyond_its_size(self, size: int) -> None:
        by = verifier(cache_size=size)
        for number in range(50):
            by.verify(issue(jti=str(number)))
            assert len(by._trusted.recent) + len(by._trusted.older) <= size

    def test_a_token_in_use_outlasts_those_seen_once(self) -> None:
        by = verifier(cache_size=10)
        first = by.verify(issue())
        for number in range(100):
            by.verify(issue(jti=str(number)))
            assert by.verify(issue()) is first

    def test_a_token_seen_once_is_forgotten_in_time(self) -> None:
        by = verifier(cache_size=10)
        first = by.verify(issue())
        for number in range(10):
            by.verify(issue(jti=str(number)))

        assert by.verify(issue()) is not first

    def test_verifiers_share_nothing(self) -> None:
        verifier(SECRETS[0]).verify(issue(SECRETS[0]))

        assert refusal(issue(SECRETS[0]), verifier(SECRETS[1])).reason == "bad_signature"

    def test_threads_may_share_a_verifier(self) -> None:
        by = verifier(cache_size=8)
        tokens = [issue(jti=str(number)) for number in range(24)]
        forged = issue(SECRETS[1])

        def work(start: int) -> None:
            for step in range(200):
                number = (start + step * step) % len(tokens)
                assert by.verify(tokens[number]).token_id == str(number)
                refusal(forged, by)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))

        assert len(by._trusted.recent) + len(by._trusted.older) <= 8 + 8  # a race may overrun by one token per thread

    def test_an_unfit_cache_size_is_refused(self) -> None:
        with pytest.raises(ValueError, match="cache_size"):
            verifier(cache_size=-1)
