"""The settings of one member: every flag of etcd as a typed value, with what follows from them.

A `Config` is made by `config_sources.load` from a command line, an environment or a file, or directly.
However it was made, values that mean "the default" (an empty directory, a zero limit) are the real ones by
then, so that nobody who reads a setting has to know the special cases. `config_rules.check` refuses what
etcd refuses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from etcdpy.cluster.urls import Url, parse_initial_cluster
from etcdpy.server.config_features import features_of
from etcdpy.server.config_kinds import BadValue, ConfigError, parse_duration
from etcdpy.server.config_table import (
    DATA_DIR_DEFAULT,
    FLAGS,
    INITIAL_CLUSTER_DEFAULT,
    NAME_DEFAULT,
    PEER_URL_DEFAULT,
    V2_DEPRECATION_DEFAULT,
    AuthFlags,
    ClusteringFlags,
    FeatureFlags,
    LoggingFlags,
    MemberFlags,
    MonitoringFlags,
    SecurityFlags,
    TracingFlags,
    UnsafeFlags,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# What zero stands for.
ZERO_MEANS: Mapping[str, float] = {
    "snapshot_count": 10_000,
    "snapshot_catchup_entries": 5_000,
    "backend_batch_interval_s": 0.1,
    "backend_batch_limit": 10_000,
    "compaction_batch_limit": 1_000,
    "compaction_sleep_interval_s": 0.01,
    "watch_progress_notify_interval_s": 600.0,
    "warning_unary_request_duration_s": 0.3,
}
PEER_TIMEOUT_MIN_S = 5.0
HOUR_S = 3600


@dataclass(kw_only=True)
class Config(
    UnsafeFlags,
    FeatureFlags,
    TracingFlags,
    LoggingFlags,
    MonitoringFlags,
    AuthFlags,
    SecurityFlags,
    ClusteringFlags,
    MemberFlags,
):
    """All settings of a member. `explicit` names the flags that somebody gave, in whatever way."""

    explicit: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.data_dir == DATA_DIR_DEFAULT:
            self.data_dir = self.data_dir.with_name(f"{self.name}.etcd")
        for attribute, meaning in ZERO_MEANS.items():
            if not getattr(self, attribute):
                setattr(self, attribute, meaning)
        self.raft_read_timeout_s = max(self.raft_read_timeout_s, PEER_TIMEOUT_MIN_S)
        self.raft_write_timeout_s = max(self.raft_write_timeout_s, PEER_TIMEOUT_MIN_S)
        # There is no store left that the other stages could be about.
        self.v2_deprecation = V2_DEPRECATION_DEFAULT
        if self.initial_cluster == INITIAL_CLUSTER_DEFAULT and self.name != NAME_DEFAULT:
            self.initial_cluster = self.cluster_of_one()

    @classmethod
    def for_test(cls, data_dir: Path) -> Config:
        """A member of its own cluster on free ports of this machine, with fast elections."""
        client, peer = Url("http://127.0.0.1:0"), PEER_URL_DEFAULT
        return cls(
            data_dir=data_dir,
            listen_client_urls=(client,),
            advertise_client_urls=(client,),
            listen_peer_urls=(Url("http://127.0.0.1:0"),),
            initial_advertise_peer_urls=(peer,),
            heartbeat_interval_ms=10,
            election_timeout_ms=100,
        )

    def cluster_of_one(self) -> str:
        """The initial cluster when only a name was given."""
        return ",".join(f"{self.name}={url}" for url in self.initial_advertise_peer_urls)

    @property
    def initial_urls_by_name(self) -> dict[str, tuple[Url, ...]]:
        """The founding members; raises BadUrl."""
        return parse_initial_cluster(self.initial_cluster)

    @property
    def features(self) -> dict[str, bool]:
        """The position of every feature gate; raises BadFeatureGates."""
        return features_of(self.feature_gates)

    @property
    def is_joining(self) -> bool:
        return self.initial_cluster_state == "existing"

    @property
    def election_ticks(self) -> int:
        return self.election_timeout_ms // self.heartbeat_interval_ms

    @property
    def lease_ttl_min_s(self) -> int:
        """Shorter leases could expire before a leader that was just elected hears of their renewal."""
        ticks = 3 * self.election_ticks // 2
        return math.ceil(ticks * self.heartbeat_interval_ms / 1000)

    @property
    def compaction_retention(self) -> float:
        """History to keep: seconds (periodic) or revisions, 0 for all of it; raises ConfigError."""
        text = self.auto_compaction_retention
        if text.isascii() and text.removeprefix("+").isdigit():
            return int(text) * (HOUR_S if self.auto_compaction_mode == "periodic" else 1)
        try:
            return parse_duration(text)
        except BadValue:
            reason = f'invalid duration "{text}"'
            if text.removeprefix("-").replace(".", "", 1).isdigit():
                reason = f'missing unit in duration "{text}"'
            raise ConfigError(f"error parsing CompactionRetention: time: {reason}") from None

    def is_set(self, name: str) -> bool:
        """Whether the flag was given, in whatever way."""
        assert name in FLAGS, name
        return name in self.explicit
