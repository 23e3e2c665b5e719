"""Commands about members: `member`, `move-leader` and `downgrade`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_session import at_endpoint, open_session
from etcdpy.ctl.go_text import parse_uint, quote
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, Fault
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.ctl.command_line import Options
    from etcdpy.ctl.ctl_session import Session


def _member_id(arguments: Sequence[str]) -> int:
    if len(arguments) != 1:
        raise Fault("member ID is not provided", EXIT_BAD_ARGUMENTS)
    try:
        return parse_uint(arguments[0], 16)
    except ValueError as error:
        raise Fault(f"bad member ID arg ({error}), expecting ID in Hex", EXIT_BAD_ARGUMENTS) from error


def _peer_urls(options: Options) -> list[str]:
    text = options.text("peer-urls")
    if not text:
        raise Fault("member peer urls not provided", EXIT_BAD_ARGUMENTS)
    return text.split(",")


def add(arguments: Sequence[str], options: Options) -> None:
    """Announce a member, and tell how it is to be started."""
    if not arguments:
        raise Fault("member name not provided", EXIT_BAD_ARGUMENTS)
    if len(arguments) > 1:
        raise Fault(_too_many(arguments[1]), EXIT_BAD_ARGUMENTS)
    name, urls = arguments[0], _peer_urls(options)
    from etcdpy.client import rpcs

    session = open_session(options)
    _check_urls(urls)
    learner = options.is_set("learner")
    response = session.call(rpcs.MEMBER_ADD, pb.MemberAddRequest(peerURLs=urls, isLearner=learner))
    added = response.member.ID
    simple = f"Member {added:16x} added to cluster {response.header.cluster_id:16x}"
    session.show(answers.plain(response, simple, has_fields=False))
    if session.shape.form == "simple":
        cluster = ",".join(
            f"{name if added == member.ID else member.name}={url}"
            for member in _members_after(session, response).members
            for url in member.peerURLs
        )
        answers.write(
            f"\nETCD_NAME={quote(name)}\n"
            f"ETCD_INITIAL_CLUSTER={quote(cluster)}\n"
            f"ETCD_INITIAL_ADVERTISE_PEER_URLS={quote(options.text('peer-urls'))}\n"
            'ETCD_INITIAL_CLUSTER_STATE="existing"\n'
        )


def _members_after(session: Session, response: pb.MemberAddResponse) -> pb.MemberListResponse:
    """The list of a member that knows of the change: only who has answered it surely does, or who has read
    through the quorum since."""
    from etcdpy.client import rpcs

    knows = response.header.member_id
    request = pb.MemberListRequest(linearizable=True)
    while True:
        listed = session.call(rpcs.MEMBER_LIST, request)
        if listed.header.member_id == knows:
            return listed
        knows = session.call(rpcs.RANGE, pb.RangeRequest(key=b"_")).header.member_id


def _too_many(word: str) -> str:
    return "too many arguments" + (f", did you mean --peer-urls={word}" if "http" in word else "")


def _check_urls(urls: Sequence[str]) -> None:
    """As etcd's client looks at them before it asks."""
    from etcdpy.cluster.urls import BadUrl, parse_urls

    try:
        parse_urls(urls)
    except BadUrl as error:
        raise Fault(str(error)) from error


def remove(arguments: Sequence[str], options: Options) -> None:
    """Take a member out of the cluster."""
    member = _member_id(arguments)
    from etcdpy.client import rpcs

    session = open_session(options)
    response = session.call(rpcs.MEMBER_REMOVE, pb.MemberRemoveRequest(ID=member))
    cluster = response.header.cluster_id
    text = f"Member {member:16x} removed from cluster {cluster:16x}"
    session.show(answers.plain(response, text, has_fields=False))


def update(arguments: Sequence[str], options: Options) -> None:
    """Change the peer URLs of a member."""
    member, urls = _member_id(arguments), _peer_urls(options)
    from etcdpy.client import rpcs

    session = open_session(options)
    _check_urls(urls)
    response = session.call(rpcs.MEMBER_UPDATE, pb.MemberUpdateRequest(ID=member, peerURLs=urls))
    text = f"Member {member:16x} updated in cluster {response.header.cluster_id:16x}"
    session.show(answers.plain(response, text, has_fields=False))


def promote(arguments: Sequence[str], options: Options) -> None:
    """Give a learner a vote."""
    member = _member_id(arguments)
    from etcdpy.client import rpcs

    session = open_session(options)
    response = session.call(rpcs.MEMBER_PROMOTE, pb.MemberPromoteRequest(ID=member))
    text = f"Member {member:16x} promoted in cluster {response.header.cluster_id:16x}"
    session.show(answers.plain(response, text, has_fields=False))


def members(arguments: Sequence[str], options: Options) -> None:
    """Tell who is in the cluster."""
    from etcdpy.client import rpcs

    session = open_session(options)
    request = pb.MemberListRequest(linearizable=options.text("consistency") != "s")
    session.show(answers.member_list(session.call(rpcs.MEMBER_LIST, request), session.shape))


def move_leader(arguments: Sequence[str], options: Options) -> None:
    """Let another member lead."""
    if len(arguments) != 1:
        raise Fault("move-leader command needs 1 argument", EXIT_BAD_ARGUMENTS)
    try:
        target = parse_uint(arguments[0], 16)
    except ValueError as error:
        raise Fault(str(error), EXIT_BAD_ARGUMENTS) from error
    from etcdpy.client import rpcs

    session = open_session(options)
    endpoints = session.settings.endpoints
    for endpoint in endpoints:
        one = at_endpoint(session, endpoint)
        status = one.call(rpcs.STATUS, pb.StatusRequest())
        if status.header.member_id == status.leader:
            response = one.call(rpcs.MOVE_LEADER, pb.MoveLeaderRequest(targetID=target))
            text = f"Leadership transferred from {status.leader:x} to {target:x}"
            session.show(answers.plain(response, text, has_fields=False))
            return
    raise Fault(f"no leader endpoint given at [{' '.join(endpoints)}]", EXIT_BAD_ARGUMENTS)


def downgrade_validate(arguments: Sequence[str], options: Options) -> None:
    """Ask whether the cluster could go back to a version."""
    _downgrade(options, "validate", pb.DowngradeRequest.VALIDATE, _version(arguments))


def downgrade_enable(arguments: Sequence[str], options: Options) -> None:
    """Let the cluster go back to a version."""
    _downgrade(options, "enable", pb.DowngradeRequest.ENABLE, _version(arguments))


def downgrade_cancel(arguments: Sequence[str], options: Options) -> None:
    """Stay at this version after all."""
    _downgrade(options, "cancel", pb.DowngradeRequest.CANCEL, "")


def _version(arguments: Sequence[str]) -> str:
    if not arguments:
        raise Fault("TARGET_VERSION not provided", EXIT_BAD_ARGUMENTS)
    if len(arguments) > 1:
        raise Fault("too many arguments", EXIT_BAD_ARGUMENTS)
    if not arguments[0]:
        raise Fault("target version not provided", EXIT_BAD_ARGUMENTS)
    return arguments[0]


def _downgrade(
    options: Options, verb: str, action: pb.DowngradeRequest.DowngradeAction, version: str
) -> None:
    from etcdpy.client import rpcs

    session = open_session(options)
    response = session.call(rpcs.DOWNGRADE, pb.DowngradeRequest(action=action, version=version))
    text = f"Downgrade {verb} success, cluster version {response.version}"
    session.show(answers.plain(response, text, has_fields=False))
