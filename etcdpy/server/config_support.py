"""What etcd's flags ask for and we cannot do. The one place to shrink as features arrive.

A gate that only tunes or adds is accepted and named in a warning. A flag that would make a member safer, or
that decides which cluster it belongs to, must never be passed over in silence: such a member refuses to
start.
"""

from __future__ import annotations

from etcdpy.server.config import Config
from etcdpy.server.config_features import GATES
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.config_table import FLAGS

# Refused when set to anything but the default, with the reason.
DISCOVERY = (
    "the discovery service of v2 is gone, and its protocol with etcd 3.7; "
    "use --discovery-token and --discovery-endpoints"
)
REFUSED = {
    "discovery": DISCOVERY,
    "discovery-insecure-skip-tls-verify": "the library for gRPC verifies whom it calls over TLS",
    "discovery-proxy": DISCOVERY,
    "enable-distributed-tracing": "etcdpy sends no spans to a collector",
}

# Gates whose feature exists, or that change nothing a user could see.
GATES_SUPPORTED = frozenset(
    {
        "CompactHashCheck",
        "FastLeaseKeepAlive",
        "InitialCorruptCheck",
        "LeaseCheckpoint",
        "LeaseCheckpointPersist",
        "PriorityRequest",
        "SetMemberLocalAddr",
        "StopGRPCServiceOnDefrag",
        "TxnModeWriteWithSharedBuffer",
    }
)

assert REFUSED.keys() <= FLAGS.keys(), REFUSED.keys() - FLAGS.keys()


DEFAULTS = Config()


class NotSupported(ConfigError):
    """A setting that we must not ignore and cannot honour."""


def is_default(config: Config, name: str) -> bool:
    """Whether a setting is what it would be if nobody had said anything."""
    attribute = FLAGS[name].attribute
    return bool(getattr(config, attribute) == getattr(DEFAULTS, attribute))


def check_supported(config: Config) -> None:
    """Refuse what may not be ignored."""
    for name, reason in REFUSED.items():
        if not is_default(config, name):
            raise NotSupported(f"--{name} is not supported: {reason}")


def without_effect(config: Config) -> list[str]:
    """Gates that are set but do nothing yet, for one warning at start."""
    return sorted(
        f"--feature-gates={name}={str(on).lower()}"
        for name, on in config.features.items()
        if name not in GATES_SUPPORTED and on != GATES[name].default
    )
