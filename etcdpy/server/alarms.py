"""Alarms: what is wrong with a member, agreed on by the cluster and kept in the backend.

The key of an alarm in its bucket is the serialized `AlarmMember`; the value is empty (formats
reference, section 3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.backend import Bucket
from etcdpy.proto.rpc_pb2 import AlarmMember, AlarmType

if TYPE_CHECKING:
    from etcdpy.backend import Backend

NOSPACE = AlarmType.NOSPACE
CORRUPT = AlarmType.CORRUPT


def name_of(alarm: int) -> str:
    """What an alarm is called; a number that has no name yet is one. No client can raise such, but a snapshot
    may bring it.
    """
    return AlarmType.Name(alarm) if alarm in AlarmType.values() else str(alarm)


class Alarms:
    """The alarms that are set: (alarm type, member id) pairs in a fixed order."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._set: set[tuple[AlarmType, int]] = set()
        for key, _ in backend.items(Bucket.ALARM):
            alarm = AlarmMember.FromString(key)
            self._set.add((alarm.alarm, alarm.memberID))

    def __len__(self) -> int:
        return len(self._set)

    def activate(self, member_id: int, alarm: AlarmType) -> AlarmMember:
        """Set an alarm; setting it twice is the same as once."""
        entry = AlarmMember(memberID=member_id, alarm=alarm)
        if (alarm, member_id) not in self._set:
            self._set.add((alarm, member_id))
            self._backend.put(Bucket.ALARM, entry.SerializeToString(deterministic=True), b"")
        return entry

    def deactivate(self, member_id: int, alarm: AlarmType) -> AlarmMember | None:
        """Unset an alarm; None when it was not set."""
        if (alarm, member_id) not in self._set:
            return None
        self._set.remove((alarm, member_id))
        entry = AlarmMember(memberID=member_id, alarm=alarm)
        self._backend.delete(Bucket.ALARM, entry.SerializeToString(deterministic=True))
        return entry

    def list(self, alarm: AlarmType = AlarmType.NONE) -> list[AlarmMember]:
        """Alarms of one type, or all for NONE."""
        return [
            AlarmMember(memberID=member_id, alarm=kind)
            for kind, member_id in sorted(self._set)
            if alarm in (AlarmType.NONE, kind)
        ]

    def is_active(self, alarm: AlarmType) -> bool:
        """Whether any member has this alarm."""
        return any(kind == alarm for kind, _ in self._set)
