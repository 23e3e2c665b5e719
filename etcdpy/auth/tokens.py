"""Tokens: what a client shows instead of its password.

A *simple* token is a random word and the index of the log entry that made it; every member keeps a table of
them and forgets one that has not been used for its time to live. The table is no part of the replicated
state: a member that restarts, or gets its state as a snapshot, does not know the tokens that were given out
meanwhile, and its clients log in again. A *JWT* carries user and auth revision with it, signed (`jwt`).

etcd's way to write down a simple token, `word.index`, lets a member that is behind see that it is: the token
may be good, the entry just is not here yet. Who checks a token waits for `index_of` first.
"""

from __future__ import annotations

import secrets
import string
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from etcdpy.auth.errors import AuthFailed

if TYPE_CHECKING:
    from collections.abc import Callable

TTL_DEFAULT_S: Final = 300
WORD_LETTERS: Final = 16
INDEX_MAX: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class AuthInfo:
    """Who asks, and the auth revision at which that was found out; 0 when nobody was named."""

    username: str
    revision: int


NOBODY: Final = AuthInfo("", 0)


class Tokens(Protocol):
    """One kind of tokens (`--auth-token`)."""

    def new_word(self) -> str:
        """What the member that proposes a login adds by chance; goes through the log.

        Raises:
            AuthFailed: there are no tokens of this kind.
        """

    def assign(self, username: str, revision: int, word: str, index: int) -> str:
        """The token of a login, when its entry `index` is applied.

        Raises:
            VerifyOnlyKey, TokenNotSigned: this member cannot sign.
        """

    def identify(self, token: str, revision: int) -> AuthInfo | None:
        """Whose token this is; `revision` is the present one. None for a token that is not good."""

    def index_of(self, token: str) -> int:
        """The entry that must be applied before the token can be judged, 0 for none."""

    def enable(self) -> None:
        """Auth is on."""

    def disable(self) -> None:
        """Auth is off: forget everything."""

    def forget_user(self, username: str) -> None:
        """The user is gone or has a new password."""


class NoTokens:
    """`--auth-token=''`: users are known by their certificates alone."""

    def new_word(self) -> str:
        """There are no tokens."""
        raise AuthFailed

    def assign(self, username: str, revision: int, word: str, index: int) -> str:
        """There are no tokens."""
        raise AuthFailed

    def identify(self, token: str, revision: int) -> AuthInfo | None:
        """No token is good."""
        return None

    def index_of(self, token: str) -> int:
        """Nothing to wait for."""
        return 0

    def enable(self) -> None:
        """Nothing to do."""

    def disable(self) -> None:
        """Nothing to do."""

    def forget_user(self, username: str) -> None:
        """Nothing to do."""


class SimpleTokens:
    """Random words that every member remembers."""

    def __init__(self, ttl_s: float, clock: Callable[[], float]) -> None:
        """`clock` is monotonic; a `ttl_s` that is not positive means etcd's default."""
        self._ttl_s = ttl_s if ttl_s > 0 else TTL_DEFAULT_S
        self._clock = clock
        self._is_enabled = False
        # By last use, so that those whose time is over stand first.
        self._uses: dict[str, tuple[str, float]] = {}

    def __len__(self) -> int:
        return len(self._uses)

    def new_word(self) -> str:
        """Sixteen random letters."""
        return "".join(secrets.choice(string.ascii_letters) for _ in range(WORD_LETTERS))

    def assign(self, username: str, revision: int, word: str, index: int) -> str:
        """Remember a new token."""
        token = f"{word}.{index}"
        now = self._clock()
        self._expire(now)
        if self._is_enabled:
            self._uses[token] = (username, now)
        return token

    def identify(self, token: str, revision: int) -> AuthInfo | None:
        """Whose token this is; being asked for keeps it alive. It always counts as of now."""
        use = self._uses.pop(token, None)
        if use is None:
            return None
        username, used_at = use
        now = self._clock()
        if now - used_at > self._ttl_s:
            return None
        self._uses[token] = (username, now)
        return AuthInfo(username, revision)

    def index_of(self, token: str) -> int:
        """The entry that made it, by what the token says."""
        parts = token.split(".")
        if len(parts) != 2 or not (parts[1].isascii() and parts[1].isdecimal()):
            return 0
        return min(int(parts[1][:20]), INDEX_MAX)

    def enable(self) -> None:
        """Begin to remember."""
        self._is_enabled = True

    def disable(self) -> None:
        """Forget everything."""
        self._is_enabled = False
        self._uses.clear()

    def forget_user(self, username: str) -> None:
        """Forget the tokens of one user."""
        for token in [token for token, (owner, _) in self._uses.items() if owner == username]:
            del self._uses[token]

    def _expire(self, now: float) -> None:
        uses = self._uses
        while uses:
            oldest = next(iter(uses))
            if now - uses[oldest][1] <= self._ttl_s:
                return
            del uses[oldest]
