"""Auth: seeded random sequences of calls by several users get the same answers from real etcd 3.5.1 and from
etcdpy, error texts and codes included.

By hand with any seed and length: `pytest tests/differential/test_auth.py --seed=7 --steps=20000`.

What is never asked is what etcd itself has changed since 3.5.1, mostly because it was a hole: calls without
a token that were not guarded then (MemberList, Status, Alarm, LeaseGrant, ...), those that are for
administrators only now (Compact, MoveLeader, ...), Txn in which PrevKv or a lease goes unasked, and
open-ended watches. `tests/auth` has those. A bad token is refused there even while auth is off. RoleGet of
root has told nothing in 3.5.1, and a permission that is granted again there only replaces the first of its
key; so every key has one range here.
"""

from __future__ import annotations

import random
from contextlib import ExitStack
from typing import TYPE_CHECKING, TypeVar

import pytest

from etcdpy.proto import auth_pb2
from etcdpy.proto import rpc_pb2 as pb
from tests.support.answers import comparable, short_text
from tests.support.client import Client, Refusal
from tests.support.server import pair

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from google.protobuf.message import Message

    from tests.support.programs import Kind
    from tests.support.server import Server

pytestmark = pytest.mark.cluster

USERS = ("root", "ann", "bob", "cy", "nopass")
ROLES = ("root", "r1", "r2", "r3", "absent")
PASSWORDS = ("p1", "p2", "")
KEYS = (b"a", b"a/1", b"a/2", b"b", b"b/1", b"c", b"z", b"\xff")
# The range of a permission by its key.
RANGE_ENDS = {
    b"a": b"",
    b"a/1": b"a/2",
    b"a/2": b"b",
    b"b": b"c",
    b"b/1": b"",
    b"c": b"\0",
    b"z": b"",
    b"\xff": b"\0",
}
ENDS = (b"", b"", b"\0", b"a/2", b"b", b"c", b"z")
T = TypeVar("T")

LEASES = (71, 72)
KINDS = (auth_pb2.Permission.READ, auth_pb2.Permission.WRITE, auth_pb2.Permission.READWRITE)
# Not guarded in 3.5.1 against callers without a token.
LEASE_CALLS = (pb.LeaseGrantRequest, pb.LeaseRevokeRequest)
STEPS_DEFAULT = 1_200
CALLERS = ("root", "root", "root", "ann", "ann", "bob", "bob", "cy", "stale", "nobody", "wrong")


class Side:
    """One server, and each caller's token there."""

    def __init__(self, server: Server, stack: ExitStack) -> None:
        self.name = server.kind.name
        self.clients = {caller: stack.enter_context(Client(server.endpoint)) for caller in {*CALLERS, *USERS}}
        self.clients["wrong"].token = "abcdefghijklmnop.3"


class AuthSequence:
    """Chooses calls; remembers passwords as far as the servers have taken them."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.passwords: dict[str, str] = {}
        self._makers: list[tuple[int, Callable[[], Message]]] = [
            (6, self.user_add),
            (1, lambda: pb.AuthUserDeleteRequest(name=self._of(USERS))),
            (1, self.lock_out),
            (4, lambda: pb.AuthUserGetRequest(name=self._of(USERS))),
            (2, pb.AuthUserListRequest),
            (3, self.change_password),
            (12, lambda: pb.AuthUserGrantRoleRequest(user=self._of(USERS), role=self._of(ROLES))),
            (3, lambda: pb.AuthUserRevokeRoleRequest(name=self._of(USERS), role=self._of(ROLES))),
            (4, lambda: pb.AuthRoleAddRequest(name=self._of((*ROLES[:4], "")))),
            (1, lambda: pb.AuthRoleDeleteRequest(role=self._of(ROLES))),
            (4, lambda: pb.AuthRoleGetRequest(role=self._of(ROLES[1:]))),
            (2, pb.AuthRoleListRequest),
            (12, self.grant),
            (4, self.revoke),
            (2, pb.AuthStatusRequest),
            (1, pb.AuthEnableRequest),
            (16, self.range),
            (16, self.put),
            (8, self.delete),
            (14, lambda: self.txn(1)),
            (3, lambda: pb.LeaseRevokeRequest(ID=self._of(LEASES))),
            (3, lambda: pb.LeaseGrantRequest(ID=self._of(LEASES), TTL=6000)),
        ]

    def note_success(self, request: Message) -> None:
        if isinstance(request, pb.AuthUserAddRequest | pb.AuthUserChangePasswordRequest):
            self.passwords[request.name] = request.password

    def next(self) -> Message:
        weights = [weight for weight, _ in self._makers]
        return self._chance.choices([maker for _, maker in self._makers], weights)[0]()

    def _of(self, choices: Sequence[T]) -> T:
        return self._chance.choice(choices)

    def _half(self) -> bool:
        return self._chance.random() < 0.5

    def user_add(self) -> Message:
        name = self._of((*USERS, ""))
        if name == "nopass":
            return pb.AuthUserAddRequest(name=name, options=auth_pb2.UserAddOptions(no_password=True))
        return pb.AuthUserAddRequest(name=name, password=self._of(PASSWORDS))

    def change_password(self) -> Message:
        return pb.AuthUserChangePasswordRequest(name=self._of(USERS[1:]), password=self._of(PASSWORDS[:2]))

    def lock_out(self) -> Message:
        """What would leave nobody to administer."""
        choices: list[Message] = [
            pb.AuthUserDeleteRequest(name="root"),
            pb.AuthRoleDeleteRequest(role="root"),
            pb.AuthUserRevokeRoleRequest(name="root", role="root"),
        ]
        return self._chance.choice(choices)

    def grant(self) -> Message:
        key = self._of(KEYS)
        permission = auth_pb2.Permission(permType=self._of(KINDS), key=key, range_end=RANGE_ENDS[key])
        return pb.AuthRoleGrantPermissionRequest(name=self._of(ROLES[1:]), perm=permission)

    def revoke(self) -> Message:
        key = self._of(KEYS)
        return pb.AuthRoleRevokePermissionRequest(
            role=self._of(ROLES[1:]), key=key, range_end=RANGE_ENDS[key]
        )

    def keys(self) -> tuple[bytes, bytes]:
        """A range, which may be empty. Inverted ones are left out: whether etcd finds the permission for one
        depends on the shape of its tree.
        """
        key, range_end = self._chance.choice(KEYS), self._chance.choice(ENDS)
        return key, range_end if range_end >= key or range_end in (b"", b"\0") else b""

    def range(self) -> pb.RangeRequest:
        key, range_end = self.keys()
        return pb.RangeRequest(key=key, range_end=range_end, serializable=self._half())

    def delete(self) -> pb.DeleteRangeRequest:
        key, range_end = self.keys()
        return pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=self._half())

    def compare(self) -> pb.Compare:
        key, range_end = self.keys()
        return pb.Compare(key=key, range_end=range_end, target=pb.Compare.VERSION, result=pb.Compare.GREATER)

    def put(self) -> pb.PutRequest:
        lease = self._of(LEASES) if self._chance.random() < 0.3 else 0
        return pb.PutRequest(key=self._of(KEYS), value=b"v", prev_kv=self._half(), lease=lease)

    def txn(self, depth: int) -> pb.TxnRequest:
        """Puts in it ask for no previous value and hang on no lease: 3.5.1 does not look at either."""
        compares = [self.compare() for _ in range(self._chance.randrange(2))]
        success, failure = ([self.operation(depth) for _ in range(self._chance.randrange(3))] for _ in "sf")
        return pb.TxnRequest(compare=compares, success=success, failure=failure)

    def operation(self, depth: int) -> pb.RequestOp:
        key, range_end = self.keys()
        match self._chance.randrange(3):
            case 0:
                return pb.RequestOp(request_range=pb.RangeRequest(key=key, range_end=range_end))
            case 1:
                return pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"t"))
            case _:
                delete = pb.DeleteRangeRequest(key=key, range_end=range_end, prev_kv=self._half())
                return pb.RequestOp(request_delete_range=delete)


class AuthDuel:
    def __init__(self, servers: tuple[Server, Server], seed: int, stack: ExitStack) -> None:
        self.seed = seed
        self.step = 0
        self.chance = random.Random(seed)
        self.sequence = AuthSequence(self.chance)
        self.left, self.right = (Side(server, stack) for server in servers)
        self.refusals: dict[str, int] = {}

    def ask(self, caller: str, request: Message) -> Message | Refusal:
        answers = [side.clients[caller].outcome(request) for side in (self.left, self.right)]
        left, right = answers
        if isinstance(left, pb.AuthenticateResponse) and isinstance(right, pb.AuthenticateResponse):
            assert self._form(left.token) == self._form(right.token), (left.token, right.token)
            for side, answer in zip((self.left, self.right), (left, right), strict=True):
                side.clients[caller].token = answer.token
                answer.token = ""
        assert comparable(request, left) == comparable(request, right), (
            f"seed {self.seed}, step {self.step}, {caller}: {type(request).__name__} {{ {request} }}\n"
            f"{self.left.name}: {short_text(left)}\n{self.right.name}: {short_text(right)}"
        )
        if not isinstance(left, Refusal):
            self.sequence.note_success(request)
        else:
            self.refusals[left.text] = self.refusals.get(left.text, 0) + 1
        return left

    @staticmethod
    def _form(token: str) -> tuple[int, bool]:
        word, _, index = token.partition(".")
        return len(word), index.isdecimal()

    def log_in(self, name: str, password: str, caller: str = "") -> None:
        self.ask(caller or name, pb.AuthenticateRequest(name=name, password=password))

    def begin(self) -> None:
        """Auth on, with what root needs, so that most of the sequence is played behind it."""
        for request in (
            pb.AuthEnableRequest(),
            pb.AuthUserAddRequest(name="root", password="p1"),
            pb.AuthEnableRequest(),
            pb.AuthUserGrantRoleRequest(user="root", role="root"),
            pb.AuthRoleAddRequest(name="root"),
            pb.AuthenticateRequest(name="root", password="p1"),
            *(pb.LeaseGrantRequest(ID=lease, TTL=6000) for lease in LEASES),
            pb.AuthEnableRequest(),
        ):
            self.ask("root", request)
        self.log_in("root", "p1")
        self.log_in("root", "p1", "stale")

    def play(self, steps: int) -> None:
        self.begin()
        for self.step in range(1, steps + 1):
            roll = self.chance.random()
            if roll < 0.06:
                self.log_in(self.chance.choice(USERS[1:]), self.chance.choice(PASSWORDS))
            elif roll < 0.14:
                name = self.chance.choice(USERS[1:4])
                self.log_in(name, self.sequence.passwords.get(name, ""))
            elif roll < 0.15:
                self.log_in("nopass", "p1")
            elif roll < 0.155:
                # Off and on again: every token is void, and everybody may do everything in between.
                self.ask("root", pb.AuthDisableRequest())
                self.ask("nobody", pb.PutRequest(key=b"a", value=b"off"))
                self.ask("nobody", self.sequence.grant())
                self.ask("nobody", pb.AuthEnableRequest())
                self.ask("root", pb.RangeRequest(key=b"a"))
                for name in USERS[:4]:
                    self.log_in(name, self.sequence.passwords.get(name, ""))
            else:
                caller, request = self.chance.choice(CALLERS), self.sequence.next()
                if isinstance(request, LEASE_CALLS) and not self.left.clients[caller].token:
                    caller = "root"
                self.ask(caller, request)
        for request in (pb.AuthStatusRequest(), pb.AuthUserListRequest(), pb.AuthRoleListRequest()):
            self.ask("root", request)
        for name in USERS:
            self.ask("root", pb.AuthUserGetRequest(name=name))
        for name in ROLES[1:]:
            self.ask("root", pb.AuthRoleGetRequest(role=name))
        self.ask("root", pb.RangeRequest(key=b"\0", range_end=b"\0"))
        self.ask("root", pb.HashKVRequest())


@pytest.mark.timeout(900)
def test_random_calls_of_several_users_get_the_same_answers(
    reference: Kind, candidate: Kind, seed: int, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    steps = int(pytestconfig.getoption("--steps"))
    steps = STEPS_DEFAULT if steps == 2_500 else steps
    flags = ("--bcrypt-cost=4",)
    with pair(reference, candidate, tmp_path, flags) as servers, ExitStack() as stack:
        duel = AuthDuel(servers, seed, stack)
        duel.play(steps)
        if steps >= 1_000:
            texts = duel.refusals
            for text in (
                "etcdserver: permission denied",
                "etcdserver: user name is empty",
                "etcdserver: invalid auth token",
                "etcdserver: authentication failed, invalid user ID or password",
                "auth: authentication failed, password was given for no password user",
                "etcdserver: user name not found",
                "etcdserver: role name not found",
                "etcdserver: user name already exists",
                "etcdserver: role name already exists",
                "etcdserver: role is not granted to the user",
                "etcdserver: permission is not granted to the role",
                "etcdserver: invalid auth management",
            ):
                assert texts.get(text, 0) > 0, f"never seen: {text}; seen: {texts}"
