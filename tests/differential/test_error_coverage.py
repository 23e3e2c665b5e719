"""Every error that etcd's clients can meet has a test that provokes it, or a reason why none can.

`ERRORS` is the list: codes and texts. Refusals that the tables of this directory provoke on both servers
count by themselves; `ELSEWHERE` names the tests for the others, in whose file the text must stand;
`NEVER_SENT` gives the reason for those that no member of ours sends.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from etcdpy.rpc.errors import TABLE
from tests.conftest import ROOT
from tests.differential.test_error_table import GUARDED, PLAIN
from tests.differential.test_errors import REFUSED

ERRORS: dict[str, str] = {
    # Requests and MVCC.
    "etcdserver: key is not provided": "INVALID_ARGUMENT",
    "etcdserver: key not found": "INVALID_ARGUMENT",
    "etcdserver: value is provided": "INVALID_ARGUMENT",
    "etcdserver: lease is provided": "INVALID_ARGUMENT",
    "etcdserver: too many operations in txn request": "INVALID_ARGUMENT",
    "etcdserver: duplicate key given in txn request": "INVALID_ARGUMENT",
    "etcdserver: invalid client api version": "INVALID_ARGUMENT",
    "etcdserver: invalid sort option": "INVALID_ARGUMENT",
    "etcdserver: mvcc: required revision has been compacted": "OUT_OF_RANGE",
    "etcdserver: mvcc: required revision is a future revision": "OUT_OF_RANGE",
    "etcdserver: mvcc: database space exceeded": "RESOURCE_EXHAUSTED",
    "etcdserver: request is too large": "INVALID_ARGUMENT",
    "etcdserver: too many requests": "UNKNOWN",
    "grpc: received message larger than max": "RESOURCE_EXHAUSTED",
    "RangeStream does not support custom sort orders": "UNIMPLEMENTED",
    "RangeStream does not support revision filters": "UNIMPLEMENTED",
    "unknown service etcdserverpb.Nope": "UNIMPLEMENTED",
    "unknown method Nope for service etcdserverpb.KV": "UNIMPLEMENTED",
    "unknown service": "NOT_FOUND",
    # Leases and watches.
    "etcdserver: requested lease not found": "NOT_FOUND",
    "etcdserver: lease already exists": "FAILED_PRECONDITION",
    "etcdserver: too large lease TTL": "OUT_OF_RANGE",
    "etcdserver: watch canceled": "CANCELLED",
    "not a primary lessor": "UNKNOWN",
    # Members.
    "etcdserver: member ID already exist": "FAILED_PRECONDITION",
    "etcdserver: Peer URLs already exists": "FAILED_PRECONDITION",
    "etcdserver: re-configuration failed due to not enough started members": "UNKNOWN",
    "etcdserver: given member URLs are invalid": "INVALID_ARGUMENT",
    "etcdserver: member not found": "NOT_FOUND",
    "etcdserver: can only promote a learner member": "FAILED_PRECONDITION",
    "etcdserver: can only promote a learner member which is in sync with leader": "FAILED_PRECONDITION",
    "etcdserver: too many learner members in cluster": "FAILED_PRECONDITION",
    "etcdserver: cluster ID mismatch": "FAILED_PRECONDITION",
    "etcdserver: unhealthy cluster": "UNAVAILABLE",
    "etcdserver: rpc not supported for learner": "FAILED_PRECONDITION",
    "etcdserver: bad leader transferee": "FAILED_PRECONDITION",
    "etcdserver: not leader": "FAILED_PRECONDITION",
    # Auth.
    "etcdserver: root user does not exist": "FAILED_PRECONDITION",
    "etcdserver: root user does not have root role": "FAILED_PRECONDITION",
    "etcdserver: user name already exists": "FAILED_PRECONDITION",
    "etcdserver: user name is empty": "INVALID_ARGUMENT",
    "etcdserver: user name not found": "FAILED_PRECONDITION",
    "etcdserver: role name already exists": "FAILED_PRECONDITION",
    "etcdserver: role name not found": "FAILED_PRECONDITION",
    "etcdserver: role name is empty": "INVALID_ARGUMENT",
    "etcdserver: authentication failed, invalid user ID or password": "INVALID_ARGUMENT",
    "etcdserver: permission not given": "INVALID_ARGUMENT",
    "etcdserver: permission denied": "PERMISSION_DENIED",
    "etcdserver: role is not granted to the user": "FAILED_PRECONDITION",
    "etcdserver: permission is not granted to the role": "FAILED_PRECONDITION",
    "etcdserver: authentication is not enabled": "FAILED_PRECONDITION",
    "etcdserver: invalid auth token": "UNAUTHENTICATED",
    "etcdserver: invalid auth management": "INVALID_ARGUMENT",
    "etcdserver: revision of auth store is old": "INVALID_ARGUMENT",
    "auth: authentication failed, password was given for no password user": "UNKNOWN",
    "bcrypt: password length exceeds 72 bytes": "UNKNOWN",
    "auth: token signing attempted with verify-only key": "UNKNOWN",
    "key is invalid": "UNKNOWN",
    # The state of the cluster, time.
    "etcdserver: no leader": "UNAVAILABLE",
    "etcdserver: leader changed": "UNAVAILABLE",
    "etcdserver: not capable": "FAILED_PRECONDITION",
    "etcdserver: server stopped": "UNAVAILABLE",
    "etcdserver: request timed out": "UNAVAILABLE",
    "etcdserver: request timed out, possibly due to previous leader failure": "UNAVAILABLE",
    "etcdserver: request timed out, possibly due to connection lost": "UNAVAILABLE",
    "etcdserver: request timed out, waiting for the applied index took too long": "UNAVAILABLE",
    "etcdserver: request timed out, leader transfer took too long": "UNKNOWN",
    "etcdserver: corrupt cluster": "DATA_LOSS",
    "etcdserver: request canceled": "CANCELLED",
    "etcdserver: context deadline exceeded": "DEADLINE_EXCEEDED",
    "context canceled": "CANCELLED",
    "context deadline exceeded": "DEADLINE_EXCEEDED",
    "rangeKeys: context cancelled: context canceled": "CANCELLED",
    "raft proposal dropped": "UNKNOWN",
    "raft: stopped": "UNKNOWN",
    # Downgrades and alarms.
    "etcdserver: wrong downgrade target version format": "INVALID_ARGUMENT",
    "etcdserver: invalid downgrade target version": "INVALID_ARGUMENT",
    "etcdserver: cluster version not found during downgrade": "FAILED_PRECONDITION",
    "etcdserver: cluster has a downgrade job in progress": "FAILED_PRECONDITION",
    "etcdserver: no inflight downgrade job": "FAILED_PRECONDITION",
    "etcdserver: unknown method": "UNKNOWN",
    "etcdserver: unknown alarm type": "INVALID_ARGUMENT",
    # Locks and elections.
    "mutex: session is expired": "UNKNOWN",
    "lost watcher waiting for delete": "UNKNOWN",
    "election: no leader": "UNKNOWN",
    "election: not leader": "UNKNOWN",
    '"leader" field must be provided': "UNKNOWN",
    # Reasons of watches that are not made.
    "rpc error: code = PermissionDenied desc = etcdserver: permission denied": "OK",
    "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token": "OK",
    "rpc error: code = InvalidArgument desc = etcdserver: user name is empty": "OK",
    "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old": "OK",
}

ELSEWHERE: dict[tuple[str, str], tuple[str, ...]] = {
    ("differential/test_errors.py", "test_unknown_sorting_is_refused"): ("etcdserver: invalid sort option",),
    ("differential/test_errors.py", "test_compacted_revision"): (
        "etcdserver: mvcc: required revision has been compacted",
    ),
    ("differential/test_errors.py", "test_lease_twice"): ("etcdserver: lease already exists",),
    ("differential/test_errors.py", "test_refusal_is_exact"): ("grpc: received message larger than max",),
    ("cluster/test_cluster_refusals.py", "test_a_member_that_has_too_much_to_do"): (
        "etcdserver: too many requests",
    ),
    ("rpc/test_other_services.py", "test_check"): ("unknown service",),
    ("rpc/test_other_services.py", "test_a_failed_renewal_ends_the_stream"): ("not a primary lessor",),
    ("differential/test_error_cluster.py", "test_learners_and_leaders_that_go"): (
        "etcdserver: unhealthy cluster",
        "etcdserver: not leader",
        "etcdserver: no leader",
        "etcdserver: request timed out",
        "etcdserver: request timed out, possibly due to previous leader failure",
        "context deadline exceeded",
    ),
    ("differential/test_error_cluster.py", "test_a_learner_refuses"): (
        "etcdserver: rpc not supported for learner",
    ),
    ("rpc/test_kv_service.py", "test_reads_fail_with_their_read_index_or_their_revision"): (
        "etcdserver: leader changed",
    ),
    ("cluster/test_cluster_refusals.py", "test_requests_that_time_out"): (
        "etcdserver: request timed out, possibly due to connection lost",
        "etcdserver: request timed out, leader transfer took too long",
    ),
    ("cluster/test_cluster_refusals.py", "test_a_member_that_is_stopping"): ("etcdserver: server stopped",),
    ("rpc/test_router.py", "test_checks_come_in_the_order_of_etcd"): ("etcdserver: not capable",),
    ("differential/test_error_table.py", "test_root_without_its_role_and_a_member_that_did_not_start"): (
        "etcdserver: root user does not have root role",
    ),
    ("differential/test_error_table.py", "test_while_a_downgrade_is_under_way"): (
        "etcdserver: cluster has a downgrade job in progress",
    ),
    ("cluster/test_cluster_refusals.py", "test_a_downgrade_before_a_cluster_version_is_known"): (
        "etcdserver: cluster version not found during downgrade",
    ),
    ("differential/test_error_table.py", "test_a_signed_token_of_before_is_too_old"): (
        "etcdserver: revision of auth store is old",
        "rpc error: code = InvalidArgument desc = etcdserver: revision of auth store is old",
    ),
    ("auth/test_auth_errors.py", "test_a_member_that_cannot_sign_says_so"): (
        "auth: token signing attempted with verify-only key",
    ),
    ("auth/test_auth_tokens.py", "test_the_key_must_fit_the_method"): ("key is invalid",),
    ("differential/test_lock_election.py", "test_lock_whose_key_vanished_while_waiting"): (
        "mutex: session is expired",
    ),
    ("differential/test_lock_election.py", "test_campaign_proclaim_resign"): ("election: no leader",),
    ("differential/test_lock_election.py", "test_what_elections_refuse"): (
        "election: not leader",
        '"leader" field must be provided',
    ),
    ("auth/test_auth_advisories.py", "test_a_watch_after_the_permission_was_taken"): (
        "rpc error: code = Unauthenticated desc = etcdserver: invalid auth token",
    ),
}
"""By file and test."""

NOBODY_HEARS = "whoever it is for has cancelled the call and no longer listens"
NEVER_SENT: dict[str, str] = {
    "etcdserver: watch canceled": NOBODY_HEARS,
    "etcdserver: request canceled": NOBODY_HEARS,
    "context canceled": NOBODY_HEARS,
    "rangeKeys: context cancelled: context canceled": NOBODY_HEARS,
    "etcdserver: cluster ID mismatch": (
        "of members among themselves: 412 on the peer port, which interop/test_interop_peer_port.py asks"
    ),
    "etcdserver: request timed out, waiting for the applied index took too long": (
        "entries are applied as soon as they are committed, so lease calls wait for nothing"
    ),
    "etcdserver: context deadline exceeded": "a name for clients; servers send gRPC's own words",
    "raft proposal dropped": "a proposal is kept until somebody leads (differential/test_error_cluster.py)",
    "raft: stopped": "the member stops first and says so",
    "etcdserver: no inflight downgrade job": "cancelling nothing succeeds, as in 3.6",
    "lost watcher waiting for delete": "the watcher inside of a lock ends with the call it serves",
}

TESTS = Path(ROOT) / "tests"


def elsewhere() -> list[str]:
    return [text for texts in ELSEWHERE.values() for text in texts]


def provoked_by_tables() -> dict[str, str]:
    """Texts and codes of what the tables provoke."""
    cases = {case.text: case.code for table in (PLAIN, GUARDED) for case in table.values()}
    return cases | {refusal.text: refusal.code for _, refusal in REFUSED.values()}


def test_the_list_and_the_table_of_statuses_are_one() -> None:
    """What the server can answer is on the list with this code; the rest of the list has no row because it is
    no refusal of the server's own.
    """
    rows = {text: code.name.replace("CANCELED", "CANCELLED") for code, text in TABLE.values()}
    assert {text: code for text, code in rows.items() if ERRORS.get(text) != code} == {}


def test_every_error_is_provoked_or_cannot_be() -> None:
    provoked = provoked_by_tables()
    known = {*provoked, *elsewhere(), *NEVER_SENT}
    assert [text for text in ERRORS if text not in known] == []
    assert [text for text in (*elsewhere(), *NEVER_SENT) if text not in ERRORS] == []
    for text, code in provoked.items():
        listed = ERRORS.get(text) or ERRORS[text.partition(" (")[0]]
        assert listed == code, text


def test_nothing_has_a_reason_and_a_test() -> None:
    assert set(NEVER_SENT) & {*provoked_by_tables(), *elsewhere()} == set()


@pytest.mark.parametrize("place", ELSEWHERE, ids="::".join)
def test_what_is_named_is_a_test_and_knows_the_texts(place: tuple[str, str]) -> None:
    path, name = place
    source = (TESTS / path).read_text()
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    assert name in {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, functions)}
    assert [text for text in ELSEWHERE[place] if text not in source] == []
