"""Alarms that have no name yet: no client can raise them here, but a snapshot may bring them."""

from __future__ import annotations

from etcdpy.proto.rpc_pb2 import AlarmType
from etcdpy.server.alarms import name_of


def test_an_unknown_alarm_is_told_by_its_number() -> None:
    assert [name_of(alarm) for alarm in AlarmType.values()] == ["NONE", "NOSPACE", "CORRUPT"]
    assert name_of(9) == "9"
