"""When a call is made again, and when its failure is told: the decision, without a clock or a socket.

The rule is etcd's own client's: a call that was certainly not sent goes to the next endpoint, whatever it
is; one that may be repeated also when its fate is unknown; nothing else is ever sent twice. A token that the
server does not know (any more) is replaced: the server checks it before, or while, it refuses the whole call.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import grpc

from etcdpy.client.errors import (
    TEXT_INVALID_TOKEN,
    TEXT_OLD_AUTH_REVISION,
    TEXT_USER_EMPTY,
    NoLeader,
    NotSent,
)

if TYPE_CHECKING:
    import random

    from etcdpy.client.errors import EtcdError

Code = grpc.StatusCode

PAUSE_MIN_S: Final = 0.025
PAUSE_MAX_S: Final = 0.5
# With these codes the call may have reached a member that went on with it.
_FATE_UNKNOWN: Final = frozenset(
    {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.INTERNAL, Code.ABORTED}
)
_REFUSALS: Final = ("etcdserver: ", "auth: ", "bcrypt: ", "raft proposal dropped")
# A stream that ends with one of these is opened again; see `is_interruption`.
_INTERRUPTIONS: Final = _FATE_UNKNOWN
_TOKEN_TEXTS: Final = (TEXT_INVALID_TOKEN, TEXT_OLD_AUTH_REVISION, TEXT_USER_EMPTY)
# A server that refuses a fresh token this often will not take the next one.
AUTHENTICATIONS_MAX: Final = 3


class Verdict(Enum):
    """What to do about a failure."""

    RAISE = "tell the caller"
    NEXT_ENDPOINT = "make the call at the next endpoint"
    AUTHENTICATE = "get a new token and make the call again"


class Attempts:
    """The attempts of one call.

    Args:
        repeatable: whether a second execution changes nothing.
        has_user: whether a new token could be had.
    """

    def __init__(self, *, repeatable: bool, has_user: bool) -> None:
        self._repeatable = repeatable
        self._authentications_left = AUTHENTICATIONS_MAX if has_user else 0

    def judge(self, error: EtcdError) -> Verdict:
        """Decide; an error that is to be raised knows afterwards whether the call may have taken effect."""
        if isinstance(error, NotSent):
            return Verdict.NEXT_ENDPOINT
        if asks_for_token(error) and self._authentications_left:
            self._authentications_left -= 1
            return Verdict.AUTHENTICATE
        if self._repeatable:
            return Verdict.NEXT_ENDPOINT if error.code is Code.UNAVAILABLE else Verdict.RAISE
        error.maybe_applied = is_fate_unknown(error)
        return Verdict.RAISE


class Pauses:
    """How long to wait before another attempt: nothing until every endpoint was tried, then ever longer."""

    def __init__(self, endpoint_count: int, chance: random.Random) -> None:
        self._endpoint_count = endpoint_count
        self._chance = chance
        self._failures = 0

    def next_s(self) -> float:
        """Seconds, after one more failure."""
        self._failures += 1
        rounds, position = divmod(self._failures, self._endpoint_count)
        if position:
            return 0.0
        return min(PAUSE_MIN_S * (1 << min(rounds - 1, 10)), PAUSE_MAX_S) * self._chance.uniform(0.9, 1.1)

    def reset(self) -> None:
        """An attempt has succeeded."""
        self._failures = 0


def is_fate_unknown(error: EtcdError) -> bool:
    """Whether a call that ended so may have taken effect."""
    if isinstance(error, NoLeader):
        return False
    if error.code is Code.UNKNOWN:
        # Refusals without a code of their own come as this one, but so do faults of everything in between.
        return not error.text.startswith(_REFUSALS)
    return error.code in _FATE_UNKNOWN


def asks_for_token(error: EtcdError) -> bool:
    """Whether the server has refused the token, or the lack of one."""
    return is_token_text(error.text)


def is_token_text(text: str) -> bool:
    """Whether these words refuse a token; watches carry them inside of other words."""
    return text.endswith(_TOKEN_TEXTS)


def is_interruption(error: EtcdError) -> bool:
    """Whether a stream that ended so may be opened again, and will not end the same way."""
    if error.code is Code.UNKNOWN:
        return not error.text.startswith(_REFUSALS)
    return error.code in _INTERRUPTIONS
