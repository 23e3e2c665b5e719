"""Downgrade jobs: going back by one minor version, member by member.

A job is asked for by a client and lies in the log. While there is one, the leader lowers the cluster version
(`versions.VersionMonitor`), so that members of the older release may join; when every member runs that
release the leader ends the job. What etcd 3.6 checks, it checks after a linearizable read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.cluster.version import BadVersion, Version
from etcdpy.proto import rpc_pb2 as pb
from etcdpy.proto.membership_pb2 import DowngradeInfoSetRequest
from etcdpy.server.errors import (
    ClusterVersionUnavailable,
    DowngradeInProcess,
    InvalidDowngradeTargetVersion,
    ServerError,
    WrongDowngradeVersionFormat,
)
from etcdpy.server.results import Result

if TYPE_CHECKING:
    from etcdpy.server.member import Member
    from etcdpy.server.results import Done


class Downgrades:
    """Answers Maintenance.Downgrade of one member."""

    def __init__(self, member: Member) -> None:
        self._member = member

    def answer(self, request: pb.DowngradeRequest, done: Done) -> None:
        """Validate, enable or cancel a downgrade."""
        if request.action != pb.DowngradeRequest.CANCEL:
            try:
                parse_target(request.version)
            except WrongDowngradeVersionFormat as error:
                done(Result(error=error))
                return

        def confirmed(error: Exception | None) -> None:
            if error is not None:
                done(Result(error=error))
            elif request.action == pb.DowngradeRequest.CANCEL:
                self._cancel(done)
            else:
                self._begin(request, done)

        self._member.confirm_read(confirmed)

    def _begin(self, request: pb.DowngradeRequest, done: Done) -> None:
        try:
            target = self._check(request.version)
        except ServerError as error:
            self._member.log.warn("reject downgrade request", error=type(error).__name__)
            done(Result(error=error))
            return
        if request.action == pb.DowngradeRequest.VALIDATE:
            self._succeed(done)
            return
        self._member.log.info("enabling a downgrade", **{"target-version": target.short})
        self._propose(DowngradeInfoSetRequest(enabled=True, ver=str(target)), done)

    def _check(self, text: str) -> Version:
        target = parse_target(text)
        membership = self._member.state.membership
        current = membership.cluster_version
        if current is None:
            raise ClusterVersionUnavailable
        if target != current.one_lower:
            raise InvalidDowngradeTargetVersion
        if membership.downgrade is not None:
            raise DowngradeInProcess
        return target

    def _cancel(self, done: Done) -> None:
        if self._member.state.membership.downgrade is None:
            # Refused, says etcd's log; the client hears of a success.
            self._member.log.warn("reject downgrade request", error="no inflight downgrade job")
            self._succeed(done)
            return
        self._propose(DowngradeInfoSetRequest(), done)

    def _propose(self, request: DowngradeInfoSetRequest, done: Done) -> None:
        def applied(result: Result) -> None:
            if result.error is not None:
                done(result)
            else:
                self._succeed(done)

        self._member.propose_own("downgrade_info_set", request, applied)

    def _succeed(self, done: Done) -> None:
        state = self._member.state
        version = state.membership.cluster_version
        response = pb.DowngradeResponse(version="" if version is None else version.short)
        done(Result(response, revision=state.store.revision))


def parse_target(text: str) -> Version:
    """A target as clients write it, `X.Y` or `X.Y.Z`.

    Raises:
        WrongDowngradeVersionFormat: it is neither.
    """
    for form in (text, text + ".0"):
        try:
            return Version.parse(form).cluster_form
        except BadVersion:
            continue
    raise WrongDowngradeVersionFormat
