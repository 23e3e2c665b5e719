"""Simple tokens and JWT: whose they are, how long they live, and what their options say."""

from __future__ import annotations

import base64
import hmac
import json
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from etcdpy.auth import (
    AuthFailed,
    AuthInfo,
    BadTokenOptions,
    SimpleTokens,
    TokenNotSigned,
    VerifyOnlyKey,
    make_tokens,
)
from etcdpy.auth.jwt_tokens import METHODS
from etcdpy.server.config_kinds import parse_duration
from tests.support.pki import Authority

if TYPE_CHECKING:
    from pathlib import Path

    from etcdpy.auth import Tokens


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def tokens_of(text: str, clock: Clock | None = None, ttl_s: float = 300) -> Tokens:
    clock = clock or Clock()
    return make_tokens(text, ttl_s, clock=clock, unix_clock=clock, parse_duration=parse_duration)


# Simple tokens.


def simple(clock: Clock, ttl_s: float = 10) -> SimpleTokens:
    tokens = SimpleTokens(ttl_s, clock)
    tokens.enable()
    return tokens


def test_a_simple_token_is_a_word_and_an_index() -> None:
    tokens = simple(Clock())
    word = tokens.new_word()
    assert len(word) == 16
    assert word.isalpha()
    assert word.isascii()
    token = tokens.assign("ann", 7, word, 42)
    assert token == f"{word}.42"
    assert tokens.identify(token, 9) == AuthInfo("ann", 9), "it counts as of now, not as of its login"
    assert tokens.index_of(token) == 42


@pytest.mark.parametrize("token", ["", "a", "a.b", "a.1.2", "a.-1", "a.1e3", "a.٣", "a. 1", "a.1_0"])
def test_what_is_no_simple_token_has_no_index(token: str) -> None:
    tokens = simple(Clock())
    assert tokens.index_of(token) == 0
    assert tokens.identify(token, 1) is None


def test_an_index_has_bounds() -> None:
    assert simple(Clock()).index_of("a." + "9" * 5000) == 2**64 - 1


def test_a_simple_token_lives_while_it_is_used() -> None:
    clock = Clock()
    tokens = simple(clock, ttl_s=10)
    used, unused = (tokens.assign("ann", 1, word, 1) for word in ("used", "unused"))
    for _ in range(5):
        clock.now += 8
        assert tokens.identify(used, 1) is not None
    assert tokens.identify(unused, 1) is None
    clock.now += 10.1
    assert tokens.identify(used, 1) is None
    assert tokens.identify(used, 1) is None, "it does not come back"


def test_tokens_that_nobody_uses_do_not_pile_up() -> None:
    clock = Clock()
    tokens = simple(clock, ttl_s=10)
    for number in range(100):
        clock.now += 1
        tokens.assign("ann", 1, f"w{number}", number)
    assert len(tokens) <= 12


def test_a_user_who_goes_takes_their_tokens_along() -> None:
    tokens = simple(Clock())
    anns, bobs = tokens.assign("ann", 1, "a", 1), tokens.assign("bob", 1, "b", 2)
    tokens.forget_user("ann")
    assert tokens.identify(anns, 1) is None
    assert tokens.identify(bobs, 1) == AuthInfo("bob", 1)
    tokens.disable()
    assert tokens.identify(bobs, 1) is None
    assert tokens.identify(tokens.assign("bob", 1, "c", 3), 1) is None, (
        "nothing is remembered while auth is off"
    )


def test_no_tokens_at_all() -> None:
    tokens = tokens_of("")
    with pytest.raises(AuthFailed):
        tokens.new_word()
    assert tokens.identify("anything.1", 1) is None


# JWT.


def pem(key: Any) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


def public_pem(key: Any) -> bytes:
    return bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


RSA_KEY = rsa.generate_private_key(65537, 2048)
CURVES: dict[str, ec.EllipticCurve] = {
    "ES256": ec.SECP256R1(),
    "ES384": ec.SECP384R1(),
    "ES512": ec.SECP521R1(),
}


def key_of(method: str) -> Any:
    if method in CURVES:
        return ec.generate_private_key(CURVES[method])
    return ed25519.Ed25519PrivateKey.generate() if method == "EdDSA" else RSA_KEY


def jwt_flag(directory: Path, method: str, key: Any, *, private: bool = True, public: bool = True) -> str:
    text = f"jwt,sign-method={method},ttl=1h"
    if key is None:
        (directory / "secret").write_bytes(b"not long")
        return f"{text},priv-key={directory / 'secret'}"
    (directory / "key.pem").write_bytes(pem(key))
    (directory / "pub.pem").write_bytes(public_pem(key))
    text += f",priv-key={directory / 'key.pem'}" if private else ""
    return text + (f",pub-key={directory / 'pub.pem'}" if public else "")


@pytest.mark.parametrize("method", METHODS)
def test_a_signed_token_says_who_and_when(tmp_path: Path, method: str) -> None:
    clock = Clock()
    key = None if METHODS[method] is None else key_of(method)
    flag = jwt_flag(tmp_path, method, key)
    tokens = tokens_of(flag, clock)
    assert tokens.new_word() == ""
    token = tokens.assign("ann", 7, "", 42)
    assert tokens.identify(token, 99) == AuthInfo("ann", 7)
    header, payload = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in token.split(".")[:2])
    assert header == {"alg": method, "typ": "JWT"}
    assert payload == {"username": "ann", "revision": 7, "exp": 1_003_600}
    assert tokens_of(flag, clock).identify(token, 1) == AuthInfo("ann", 7), "another member knows it, too"
    clock.now += 3600
    assert tokens.identify(token, 1) is None


@pytest.mark.parametrize("method", ["RS256", "ES256", "EdDSA"])
def test_a_public_key_verifies_and_does_not_sign(tmp_path: Path, method: str) -> None:
    key = key_of(method)
    token = tokens_of(jwt_flag(tmp_path, method, key, public=False)).assign("ann", 7, "", 1)
    verifying = tokens_of(jwt_flag(tmp_path, method, key, private=False))
    assert verifying.identify(token, 1) == AuthInfo("ann", 7)
    with pytest.raises(VerifyOnlyKey):
        verifying.assign("ann", 7, "", 1)


def test_the_key_must_fit_the_method(tmp_path: Path) -> None:
    tokens = tokens_of(jwt_flag(tmp_path, "ES384", key_of("ES256")))
    with pytest.raises(TokenNotSigned, match="key is invalid"):
        tokens.assign("ann", 1, "", 1)
    assert (
        tokens.identify(jwt.encode({"username": "ann", "revision": 1}, key_of("ES384"), "ES384"), 1) is None
    )


def test_tokens_of_others_are_not_taken(tmp_path: Path) -> None:
    tokens = tokens_of(jwt_flag(tmp_path, "RS256", RSA_KEY))
    good = {"username": "ann", "revision": 7}
    assert tokens.identify(jwt.encode(good, RSA_KEY, "RS256"), 1) == AuthInfo("ann", 7)
    forged = [
        jwt.encode(good, rsa.generate_private_key(65537, 2048), "RS256"),
        jwt.encode(good, RSA_KEY, "RS512"),
        jwt.encode(good, RSA_KEY, "PS256"),
        jwt.encode(good, None, "none"),  # the oldest trick
        # The public key, which everybody has, as the secret of an HMAC.
        hmac_token(good, public_pem(RSA_KEY)),
        "",
        "a.b.c",
        "\ud800.\ud800.\ud800",
        jwt.encode(good, RSA_KEY, "RS256")[:-4] + "AAAA",
    ]
    for token in forged:
        assert tokens.identify(token, 1) is None, token


def hmac_token(claims: dict[str, Any], secret: bytes) -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(secret, signed, "sha256")).rstrip(b"=")
    return (signed + b"." + signature).decode()


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"username": "ann"},
        {"revision": 1},
        {"username": 5, "revision": 1},
        {"username": "ann", "revision": "1"},
        {"username": "ann", "revision": True},
        {"username": "ann", "revision": 1, "exp": 999_999},
        {"username": "ann", "revision": 1, "exp": "soon"},
        {"username": "ann", "revision": 1, "nbf": 1_000_001},
        {"username": "ann", "revision": float("inf")},
        {"username": "ann", "revision": float("nan")},
    ],
)
def test_claims_that_do_not_count(tmp_path: Path, claims: dict[str, Any]) -> None:
    tokens = tokens_of(jwt_flag(tmp_path, "RS256", RSA_KEY))
    assert tokens.identify(jwt.encode(claims, RSA_KEY, "RS256"), 1) is None


def test_claims_that_count(tmp_path: Path) -> None:
    tokens = tokens_of(jwt_flag(tmp_path, "RS256", RSA_KEY))
    claims = {
        "username": "ann",
        "revision": 3.0,
        "nbf": 1_000_000,
        "iat": 2_000_000_000,
        "aud": "x",
        "more": [1],
    }
    assert tokens.identify(jwt.encode(claims, RSA_KEY, "RS256"), 1) == AuthInfo("ann", 3)


# Options.


def test_pem_files_of_every_kind(tmp_path: Path) -> None:
    """Old forms of RSA and EC keys, and a certificate in the place of a public key."""
    identity = Authority(tmp_path / "ca").rsa_server()
    flag = f"jwt,sign-method=RS256,priv-key={identity.key},pub-key={identity.cert}"
    token = tokens_of(flag).assign("ann", 1, "", 1)
    assert tokens_of(f"jwt,sign-method=RS256,pub-key={identity.cert}").identify(token, 1) is not None
    old = RSA_KEY.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (tmp_path / "old.pem").write_bytes(old)
    assert tokens_of(f"jwt,sign-method=PS512,priv-key={tmp_path / 'old.pem'}").assign("ann", 1, "", 1)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("foo", "auth: invalid auth options"),
        ("simple,x", "auth: invalid auth options"),
        ("jwt", "auth: invalid auth options"),
        ("jwt,sign-method=none", "auth: invalid auth options"),
        ("jwt,sign-method=HS256", "auth: missing key data"),
        ("jwt,sign-method=RS256", "auth: missing key data"),
        ("jwt,sign-method=ES256", "auth: missing key data"),
        ("jwt,sign-method=RS256,sign-method=RS256", "auth: invalid auth options"),
        ("jwt,sign-method=RS256,pub-key=/nowhere", "auth: invalid auth options"),
        ("jwt,sign-method=HS256,priv-key={key},ttl=5", "auth: invalid auth options"),
        ("jwt,sign-method=HS256,priv-key={key}=x", "auth: invalid auth options"),
        ("jwt,sign-method=RS256,priv-key={key},pub-key={other}", "auth: public and private keys don't match"),
        ("jwt,sign-method=ES256,priv-key={key}", "not of the kind"),
        ("jwt,sign-method=EdDSA,pub-key={other}", "not of the kind"),
        ("jwt,sign-method=RS256,priv-key={junk}", "auth: "),
        ("jwt,sign-method=RS256,priv-key={other}", "auth: "),
    ],
)
def test_options_that_do_not_work(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "key").write_bytes(pem(RSA_KEY))
    (tmp_path / "other").write_bytes(public_pem(rsa.generate_private_key(65537, 2048)))
    (tmp_path / "junk").write_bytes(b"junk")
    names = {name: tmp_path / name for name in ("key", "other", "junk")}
    with pytest.raises(BadTokenOptions, match=complaint):
        tokens_of(text.format(**names))


def test_options_that_nobody_knows_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"secret")
    assert tokens_of(f"jwt,sign-method=HS256,priv-key={tmp_path / 'key'},colour=red").assign("a", 1, "", 1)
    assert tokens_of("simple,colour=red").new_word()
