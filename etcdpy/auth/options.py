"""From the flag `--auth-token` to tokens: `simple`, `jwt,sign-method=RS256,pub-key=F,priv-key=F,ttl=10m`, or
nothing, which means none at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.auth.errors import BadTokenOptions
from etcdpy.auth.tokens import NoTokens, SimpleTokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from etcdpy.auth.tokens import Tokens


def split_options(text: str) -> tuple[str, dict[str, str]]:
    """The kind of tokens, and its options.

    Raises:
        BadTokenOptions: an option is given twice or is not `name=value`.
    """
    kind, *options = text.split(",")
    pairs: dict[str, str] = {}
    for option in options:
        name, *values = option.split("=")
        if len(values) != 1 or name in pairs:
            raise BadTokenOptions
        pairs[name] = values[0]
    return kind, pairs


def make_tokens(
    text: str,
    simple_ttl_s: float,
    *,
    clock: Callable[[], float],
    unix_clock: Callable[[], float],
    parse_duration: Callable[[str], float],
) -> Tokens:
    """Tokens of the kind that the flag asks for.

    Args:
        simple_ttl_s: `--auth-token-ttl`.
        clock: monotonic seconds. unix_clock: seconds since 1970, for what is told to others.
        parse_duration: reads a Go duration; ValueError for what is none.

    Raises:
        BadTokenOptions: with etcd's words.
    """
    kind, options = split_options(text)
    if kind == "simple":
        return SimpleTokens(simple_ttl_s, clock)
    if kind == "jwt":
        # Only now: PyJWT and its keys are of no use to most members.
        from etcdpy.auth.jwt_tokens import make_jwt_tokens

        return make_jwt_tokens(options, parse_duration, unix_clock)
    if kind == "":
        return NoTokens()
    raise BadTokenOptions
