"""Feature gates: switches for what is new or not yet trusted, by stage.

`--feature-gates=Gate=true,AllBeta=false`: a named gate beats its stage, a stage beats the gate's own
default. The gates and stages are etcd's; a gate may be switched here before what it gates exists, in which
case `config_support` says so at start.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from etcdpy.server.config_kinds import FALSE_TEXTS, TRUE_TEXTS, ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(Enum):
    """How far a feature is; the value is the label of `etcd_server_feature_enabled`."""

    ALPHA = "ALPHA"
    BETA = "BETA"


@dataclass(frozen=True, slots=True)
class Gate:
    """One feature: its stage and whether it is on when nobody says anything."""

    stage: Stage
    default: bool


GATES: Mapping[str, Gate] = {
    "CompactHashCheck": Gate(Stage.ALPHA, False),
    "FastLeaseKeepAlive": Gate(Stage.BETA, True),
    "InitialCorruptCheck": Gate(Stage.ALPHA, False),
    "LeaseCheckpoint": Gate(Stage.ALPHA, False),
    "LeaseCheckpointPersist": Gate(Stage.ALPHA, False),
    "PriorityRequest": Gate(Stage.ALPHA, False),
    "SetMemberLocalAddr": Gate(Stage.ALPHA, False),
    "StopGRPCServiceOnDefrag": Gate(Stage.ALPHA, False),
    "TxnModeWriteWithSharedBuffer": Gate(Stage.BETA, True),
}
STAGES: Mapping[str, Stage] = {"AllAlpha": Stage.ALPHA, "AllBeta": Stage.BETA}


class BadFeatureGates(ConfigError):
    """Text of `--feature-gates` that switches nothing we know; the message is etcd's."""


def parse_gates(text: str) -> dict[str, bool]:
    """What the text says of each gate or stage, in its order."""
    said: dict[str, bool] = {}
    for part in text.split(","):
        part = part.strip()
        if not part:
            continue
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise BadFeatureGates(f"missing bool value for {name}")
        if value not in TRUE_TEXTS | FALSE_TEXTS:
            raise BadFeatureGates(
                f'invalid value of {name}={value}, err: strconv.ParseBool: parsing "{value}": invalid syntax'
            )
        said[name] = value in TRUE_TEXTS
    for name in said:
        if name not in GATES and name not in STAGES:
            raise BadFeatureGates(f"unrecognized feature gate: {name}")
    return said


def features_of(text: str) -> dict[str, bool]:
    """Every gate's position."""
    said = parse_gates(text)
    stages = {STAGES[name]: on for name, on in said.items() if name in STAGES}
    return {
        name: said.get(name, stages.get(gate.stage, gate.default)) for name, gate in sorted(GATES.items())
    }
