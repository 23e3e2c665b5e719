"""The tokens that the settings ask for (`--auth-token`, `--auth-token-ttl`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from etcdpy.auth import BadTokenOptions, make_tokens
from etcdpy.server.config_kinds import ConfigError, parse_duration

if TYPE_CHECKING:
    from etcdpy.auth import Tokens
    from etcdpy.server.config import Config


def tokens_of(config: Config) -> Tokens:
    """Tokens on the clocks of this machine; the key files of signed ones are read.

    Raises:
        ConfigError: no tokens can be made so.
    """
    try:
        return make_tokens(
            config.auth_token,
            config.auth_token_ttl,
            clock=time.monotonic,
            unix_clock=lambda: time.time_ns() / 1e9,
            parse_duration=parse_duration,
        )
    except BadTokenOptions as error:
        raise ConfigError(str(error)) from error
