"""The table of calls against the service descriptors, which are generated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etcdpy.client import rpcs
from etcdpy.proto import election_pb2, health_pb2, lock_pb2, rpc_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import MethodDescriptor

SHAPES = {(False, False): rpcs.UnaryRpc, (False, True): rpcs.DownRpc, (True, True): rpcs.DuplexRpc}


def described() -> dict[str, MethodDescriptor]:
    return {
        f"/{service.full_name}/{method.name}": method
        for module in (rpc_pb2, lock_pb2, election_pb2, health_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def table() -> dict[str, Any]:
    rows = [one for one in vars(rpcs).values() if isinstance(one, tuple(SHAPES.values()))]
    assert len({row.path for row in rows}) == len(rows)
    return {row.path: row for row in rows}


def test_every_call_is_in_the_table_with_its_messages() -> None:
    rows, methods = table(), described()
    assert rows.keys() == methods.keys()
    for path, method in methods.items():
        row = rows[path]
        assert type(row) is SHAPES[method.client_streaming, method.server_streaming], path
        assert row.request.DESCRIPTOR is method.input_type, path
        assert row.response.DESCRIPTOR is method.output_type, path


def test_nothing_that_writes_is_repeatable() -> None:
    repeatable = {
        path.rpartition("/")[2] for path, row in table().items() if getattr(row, "repeatable", False)
    }
    assert repeatable == {
        *("Range", "LeaseTimeToLive", "LeaseLeases", "MemberList", "Status", "Hash", "HashKV", "Check"),
        *("AuthStatus", "Authenticate", "UserGet", "UserList", "RoleGet", "RoleList", "Leader"),
    }
