"""Names of flags that are on their way out: etcd 3.5's `experimental-*` and what older versions had.

An old name stands for a new flag or for a feature gate. etcd 3.6 takes both for one more release: the old
name wins over the new one where it was given, each use is warned of, and only where the two could be meant
differently (a gate, the unary warning) giving both is an error. Names that were without effect already are
taken in silence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etcdpy.server.config_features import BadFeatureGates, parse_gates
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.config_table import FLAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "experimental-"

# Old names of flags that still exist without the prefix.
RENAMED = frozenset(
    {
        "bootstrap-defrag-threshold-megabytes",
        "compact-hash-check-time",
        "compaction-batch-limit",
        "compaction-sleep-interval",
        "corrupt-check-time",
        "distributed-tracing-address",
        "distributed-tracing-instance-id",
        "distributed-tracing-sampling-rate",
        "distributed-tracing-service-name",
        "downgrade-check-time",
        "enable-distributed-tracing",
        "max-learners",
        "memory-mlock",
        "peer-skip-client-san-verification",
        "snapshot-catchup-entries",
        "warning-apply-duration",
        "warning-unary-request-duration",
        "watch-progress-notify-interval",
    }
)

# Old switches that are feature gates now. All of them are off by default but the shared buffer.
GATED: Mapping[str, str] = {
    "experimental-compact-hash-check-enabled": "CompactHashCheck",
    "experimental-enable-lease-checkpoint": "LeaseCheckpoint",
    "experimental-enable-lease-checkpoint-persist": "LeaseCheckpointPersist",
    "experimental-initial-corrupt-check": "InitialCorruptCheck",
    "experimental-stop-grpc-service-on-defrag": "StopGRPCServiceOnDefrag",
    "experimental-txn-mode-write-with-shared-buffer": "TxnModeWriteWithSharedBuffer",
}

# Taken with any value or none, and forgotten.
IGNORED = frozenset(
    {
        "cluster-active-size",
        "cluster-remove-delay",
        "cluster-sync-interval",
        "config",
        "force",
        "max-result-buffer",
        "max-retry-attempts",
        "peer-heartbeat-interval",
        "peer-election-timeout",
        "retry-interval",
        "snapshot",
        "v",
        "vv",
        "test.coverprofile",
        "test.outputdir",
    }
)

# New flags that will go as well.
LEAVING = ("snapshot-count", "max-snapshots")
UNARY = "warning-unary-request-duration"

assert all(name in FLAGS for name in RENAMED), "an old name without a new one"


class ConflictingFlags(ConfigError):
    """An old and a new name given together where etcd does not choose; the message is etcd's."""


def new_name(old: str) -> str | None:
    """The flag that an old name stands for, if it stands for one."""
    new = old.removeprefix(PREFIX)
    return new if new != old and new in RENAMED else None


def resolve(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Values by new names only, and the warnings that the old names earned."""
    resolved = {name: value for name, value in values.items() if name in FLAGS}
    warnings = [
        f"--{name} is deprecated in 3.6 and will be decommissioned in 3.7."
        for name in LEAVING
        if name in values
    ]
    if "v2-deprecation" in values:
        warnings.append(
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. "
            "The default value is enforced, ignoring user input."
        )
    if values.get(UNARY) and values.get(PREFIX + UNARY):
        raise ConflictingFlags(f"both --{PREFIX}{UNARY} and --{UNARY} flags are set. Use only --{UNARY}")
    for old in sorted(values):
        new = new_name(old)
        if new is not None:
            resolved[new] = values[old]
            warnings.append(deprecated(old, f"--{new}"))
        elif old in GATED:
            gate = GATED[old]
            resolved["feature-gates"] = with_gate(resolved.get("feature-gates", ""), old, gate, values[old])
            warnings.append(deprecated(old, f"--feature-gates={gate}=true"))
    return resolved, warnings


def with_gate(text: str, old: str, gate: str, on: bool) -> str:
    """The gates with the one that an old switch sets."""
    value = "true" if on else "false"
    try:
        said = parse_gates(text)
    except BadFeatureGates:
        # Refused in its own time, with its own words.
        return text
    if gate in said:
        given = "true" if said[gate] else "false"
        raise ConflictingFlags(
            f"cannot specify both flags: --{old}={value} and --feature-gates={gate}={given} "
            f"at the same time, please just use --feature-gates={gate}={given}"
        )
    return f"{text},{gate}={value}" if text else f"{gate}={value}"


def deprecated(old: str, replacement: str) -> str:
    return f"--{old} is deprecated in v3.6 and will be decommissioned in v3.7. Use '{replacement}' instead."
