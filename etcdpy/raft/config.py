"""The settings of one raft member, each with the value that etcd gives it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

MIB = 1 << 20


@dataclass(slots=True, frozen=True)
class Config:
    """Settings. Time is counted in ticks; `randrange(n)` draws from 0..n-1, the only source of chance."""

    id: int
    randrange: Callable[[int], int]
    election_ticks: int = 10
    heartbeat_ticks: int = 1
    pre_vote: bool = True
    check_quorum: bool = True
    message_bytes_max: int = MIB  # entries in one append message; a single larger entry still goes
    inflight_messages_max: int = 512  # append messages sent to one follower and not acknowledged
    inflight_bytes_max: int = 0  # the same in bytes; 0: no limit
    committed_bytes_max: int = MIB  # committed entries in one Ready: bounds how long one apply turn takes
    uncommitted_bytes_max: int = 0  # proposals a leader takes on beyond what is committed; 0: no limit
    trace: Callable[[str, Mapping[str, object]], None] | None = None

    def __post_init__(self) -> None:
        assert self.id > 0, self.id
        assert 0 < self.heartbeat_ticks < self.election_ticks, (self.heartbeat_ticks, self.election_ticks)
        assert min(self.message_bytes_max, self.inflight_messages_max, self.committed_bytes_max) > 0, self
