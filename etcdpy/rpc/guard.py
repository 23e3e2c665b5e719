"""Who makes a call, and what they may do: the questions that a service asks before it answers.

A caller shows a token in the metadata, or a verified certificate whose common name is a user. The certificate
counts only with `--client-cert-auth`, and never for calls that came through a gateway, which shows its own
(CVE-2018-16886).

Every function here is for the time while auth is on; services look at `state.auth.is_enabled` first. What is
written is asked once more when it is applied (`server.permits`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.auth import NOBODY, AuthInfo, AuthOldRevision, UserEmpty

if TYPE_CHECKING:
    from etcdpy.proto.rpc_pb2 import TxnRequest
    from etcdpy.rpc.call import Call
    from etcdpy.rpc.member_view import MemberView

# What gateways add to the metadata of every call that they pass on.
GATEWAY_MARK = "grpcgateway-accept"


def token_of(call: Call) -> str | None:
    """The token that a caller shows, None if none."""
    token = call.metadata.get("token")
    return call.metadata.get("authorization") if token is None else token


def auth_info(member: MemberView, call: Call) -> AuthInfo:
    """Who makes the call, `NOBODY` if they do not say.

    Raises:
        InvalidAuthToken: they show a token that is not good.
    """
    auth = member.state.auth
    token = token_of(call)
    if token is not None:
        return auth.identify(token)
    if member.config.client_cert_auth and GATEWAY_MARK not in call.metadata:
        name = call.certificate_name
        if name:
            return AuthInfo(name, auth.revision)
    return NOBODY


def user_info(member: MemberView, call: Call) -> AuthInfo:
    """Who makes the call.

    Raises:
        InvalidAuthToken, UserEmpty: we cannot tell.
    """
    info = auth_info(member, call)
    if info is NOBODY:
        raise UserEmpty
    return info


def check_admin(member: MemberView, call: Call) -> None:
    """Raise unless the caller has the role root."""
    member.state.auth.check_admin(auth_info(member, call))


def check_read(member: MemberView, call: Call, key: bytes, range_end: bytes = b"") -> None:
    """Raise unless the caller may read all keys of the range."""
    info = auth_info(member, call)
    member.state.auth.check_read(info, key, range_end)
    _check_revision(member, info)


def check_txn_read(member: MemberView, call: Call, request: TxnRequest) -> None:
    """Raise unless the caller may do all that a Txn says that is answered at once."""
    info = auth_info(member, call)
    member.state.permits.check_txn(info, request)
    _check_revision(member, info)


def check_lease(member: MemberView, call: Call, lease_id: int) -> None:
    """Raise unless the caller may keep a lease alive."""
    member.state.permits.check_lease(user_info(member, call), lease_id)


def check_lease_keys(member: MemberView, call: Call, lease_ids: list[int]) -> None:
    """Raise unless the caller may know of the keys of leases."""
    member.state.permits.check_lease_keys(user_info(member, call), lease_ids)


def _check_revision(member: MemberView, info: AuthInfo) -> None:
    """A signed token can speak of a revision that this member has not come to yet; what it allows is not
    known here.
    """
    if info.revision not in (0, member.state.auth.revision):
        raise AuthOldRevision
