"""Tokens that are signed: JSON Web Tokens with etcd's claims `username`, `revision` and `exp`.

Any member that has the key can tell whose token it is, with no table and after a restart. The price is that
the token speaks of the auth revision of its login: after the next change of users or roles it is old, and the
client logs in again. A member that has only a public key verifies and cannot sign.

PyJWT makes and checks the signatures. The claims are checked here, on the clock of the caller and by the
rules of the library that etcd uses: `exp` and `nbf` count if they are there, nothing else does.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import HMACAlgorithm

from etcdpy.auth.errors import BadTokenOptions, TokenNotSigned, VerifyOnlyKey
from etcdpy.auth.tokens import AuthInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

TTL_DEFAULT: Final = "5m"
KNOWN_OPTIONS: Final = frozenset({"sign-method", "pub-key", "priv-key", "ttl"})

INVALID_METHOD: Final = "auth: invalid auth signature method"
MISSING_KEY: Final = "auth: missing key data"
KEY_MISMATCH: Final = "auth: public and private keys don't match"

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
_RSA: tuple[type, type] = (rsa.RSAPrivateKey, rsa.RSAPublicKey)
_EC: tuple[type, type] = (ec.EllipticCurvePrivateKey, ec.EllipticCurvePublicKey)
_ED25519: tuple[type, type] = (ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey)
# Signing method -> types of its keys; None for those whose key is a secret shared by all members.
METHODS: Final[dict[str, tuple[type, type] | None]] = {
    **dict.fromkeys(("HS256", "HS384", "HS512")),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), _RSA),
    **dict.fromkeys(("ES256", "ES384", "ES512"), _EC),
    "EdDSA": _ED25519,
}
_HASHES: Final = {
    "HS256": HMACAlgorithm.SHA256,
    "HS384": HMACAlgorithm.SHA384,
    "HS512": HMACAlgorithm.SHA512,
}


@dataclass(frozen=True, slots=True)
class Keys:
    """What to sign with, None on a member that only verifies, and what to verify with."""

    signing: Any
    verifying: Any


class JwtTokens:
    """Signed tokens of one method and one key."""

    def __init__(self, method: str, keys: Keys, ttl_s: float, unix_clock: Callable[[], float]) -> None:
        self._method = method
        self._keys = keys
        self._ttl_s = ttl_s
        self._clock = unix_clock
        self._jws = jwt.PyJWS(algorithms=[method])
        if method in _HASHES:
            self._jws.unregister_algorithm(method)
            self._jws.register_algorithm(method, _AnySecret(_HASHES[method]))

    def new_word(self) -> str:
        """Nothing is left to chance."""
        return ""

    def assign(self, username: str, revision: int, word: str, index: int) -> str:
        """Sign a token.

        Raises:
            VerifyOnlyKey: there is no private key here.
            TokenNotSigned: it does not fit the method.
        """
        if self._keys.signing is None:
            raise VerifyOnlyKey
        claims = {"exp": int(self._clock() + self._ttl_s), "revision": revision, "username": username}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        try:
            return self._jws.encode(payload, self._keys.signing, algorithm=self._method)
        except (jwt.PyJWTError, ValueError) as error:
            raise TokenNotSigned from error

    def identify(self, token: str, revision: int) -> AuthInfo | None:
        """Whose token this is, as of the revision at which it was signed."""
        try:
            payload = self._jws.decode(token, self._keys.verifying, algorithms=[self._method])
            claims = json.loads(payload)
        except (jwt.PyJWTError, ValueError):  # the second is bad JSON or Unicode, or a key of a wrong curve
            return None
        if not isinstance(claims, dict) or not self._is_in_time(claims):
            return None
        username, signed_at = claims.get("username"), _number(claims.get("revision"))
        if not isinstance(username, str) or signed_at is None:
            return None
        return AuthInfo(username, max(int(signed_at), 0))

    def _is_in_time(self, claims: Mapping[str, Any]) -> bool:
        now = self._clock()
        if claims.get("exp") is not None:
            expires_at = _number(claims["exp"])
            if expires_at is None or now >= expires_at:
                return False
        if claims.get("nbf") is not None:
            begins_at = _number(claims["nbf"])
            return begins_at is not None and now >= begins_at
        return True

    def index_of(self, token: str) -> int:
        """Nothing to wait for."""
        return 0

    def enable(self) -> None:
        """Nothing to do."""

    def disable(self) -> None:
        """Nothing is remembered, so nothing can be forgotten; the next change of the revision ages them."""

    def forget_user(self, username: str) -> None:
        """The change that made the user go has a new revision, and the user's tokens have not."""


class _AnySecret(HMACAlgorithm):
    """HMAC whose secret is the content of a file, whatever that is; etcd does not judge it either."""

    def prepare_key(self, key: str | bytes) -> bytes:
        return key if isinstance(key, bytes) else key.encode()

    def check_key_length(self, key: bytes) -> str | None:
        return None


def make_jwt_tokens(
    options: Mapping[str, str], parse_duration: Callable[[str], float], unix_clock: Callable[[], float]
) -> JwtTokens:
    """Tokens as the options of `--auth-token=jwt,...` say.

    Raises:
        BadTokenOptions: they say nothing that works.
    """
    try:
        ttl_s = parse_duration(options.get("ttl") or TTL_DEFAULT)
        public = _read(options.get("pub-key"))
        private = _read(options.get("priv-key"))
    except (OSError, ValueError) as error:
        raise BadTokenOptions from error
    method = options.get("sign-method", "")
    if method not in METHODS:
        raise BadTokenOptions
    types = METHODS[method]
    if types is not None:
        keys = _key_pair(types, private, public)
    elif private:
        keys = Keys(private, private)
    else:
        raise BadTokenOptions(MISSING_KEY)
    return JwtTokens(method, keys, ttl_s, unix_clock)


def _read(path: str | None) -> bytes:
    return Path(path).read_bytes() if path else b""


def _key_pair(types: tuple[type, type], private_pem: bytes, public_pem: bytes) -> Keys:
    try:
        private = serialization.load_pem_private_key(private_pem, None) if private_pem else None
        public = _public_key(public_pem) if public_pem else None
    except (ValueError, TypeError) as error:  # the second: it is encrypted
        raise BadTokenOptions(f"auth: {error}") from error
    private_type, public_type = types
    if not isinstance(private, private_type | None) or not isinstance(public, public_type | None):
        raise BadTokenOptions("auth: the keys are not of the kind that the signing method wants")
    if private is None:
        if public is None:
            raise BadTokenOptions(MISSING_KEY)
        return Keys(None, public)
    own: Any = private
    if public is not None and own.public_key() != public:
        raise BadTokenOptions(KEY_MISMATCH)
    return Keys(private, own.public_key())


def _public_key(pem: bytes) -> object:
    if b"BEGIN CERTIFICATE" in pem:
        return x509.load_pem_x509_certificate(pem).public_key()
    return serialization.load_pem_public_key(pem)


def _number(value: object) -> float | None:
    """A claim that is a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if isinstance(value, int) or math.isfinite(value) else None
