"""How a cluster comes to be: what each founder derives from the same flags, and how a newcomer finds
itself.

Founders agree without talking: all of them turn the same `--initial-cluster` into the same members, ids and
first log entries. A newcomer asks a running member for the list instead and checks that its flags tell of
the same cluster, and of itself. Asking is done by others; this module gets what was answered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from etcdpy.cluster.ids import cluster_id, format_id, member_id
from etcdpy.cluster.members import ChangeContext, Member, encode_context
from etcdpy.cluster.urls import BadUrl, format_initial_cluster, url_difference
from etcdpy.raft.messages import ConfChange, ConfChangeType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Resolve = Callable[[str], str]


class BootstrapError(Exception):
    """Flags that no cluster can be founded or joined with; the text is etcd's."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A cluster before its first entry: its id, its members sorted by id, and which of them we are."""

    id: int
    members: tuple[Member, ...]
    local: Member

    @property
    def others(self) -> tuple[Member, ...]:
        return tuple(member for member in self.members if member.id != self.local.id)


def found_cluster(urls_by_name: Mapping[str, Sequence[str]], token: str, local_name: str) -> Cluster:
    """The new cluster that `--initial-cluster` and the token describe."""
    check_local_name(urls_by_name, local_name)
    check_duplicates(urls_by_name)
    members = sorted(
        (Member(member_id(urls, token), tuple(sorted(urls)), name) for name, urls in urls_by_name.items()),
        key=lambda member: member.id,
    )
    local = next(member for member in members if member.name == local_name)
    return Cluster(cluster_id(member.id for member in members), tuple(members), local)


def join_cluster(
    urls_by_name: Mapping[str, Sequence[str]],
    local_name: str,
    running_id: int,
    running: Iterable[Member],
    resolve: Resolve | None = None,
) -> Cluster:
    """The running cluster as `--initial-cluster` names its members. Ids are the cluster's, names are ours."""
    check_local_name(urls_by_name, local_name)
    check_duplicates(urls_by_name)
    running = sorted(running, key=lambda member: sorted(member.peer_urls))
    listed = sorted(urls_by_name.items(), key=lambda item: sorted(item[1]))
    if len(running) != len(listed):
        raise mismatch(urls_by_name, "member count is unequal")
    members = []
    for member in running:
        match, reason = find_match(member, listed, resolve)
        if match is None:
            raise mismatch(urls_by_name, f"unmatched member while checking PeerURLs ({reason})")
        members.append(replace(member, name=match[0]))
        listed.remove(match)
    members.sort(key=lambda member: member.id)
    local = next(member for member in members if member.name == local_name)
    return Cluster(running_id, tuple(members), local)


def find_match(
    member: Member, listed: Sequence[tuple[str, Sequence[str]]], resolve: Resolve | None
) -> tuple[tuple[str, Sequence[str]] | None, str | None]:
    """The listed name whose URLs are this member's, or why the last one looked at is not."""
    reason: str | None = None
    for item in listed:
        reason = url_difference(member.peer_urls, item[1], resolve)
        if reason is None:
            return item, None
    return None, reason


def mismatch(urls_by_name: Mapping[str, Sequence[str]], reason: str) -> BootstrapError:
    return BootstrapError(f"error validating peerURLs {format_initial_cluster(urls_by_name)}: {reason}")


def check_local_name(urls_by_name: Mapping[str, Sequence[str]], local_name: str) -> None:
    if local_name not in urls_by_name:
        raise BootstrapError(f'couldn\'t find local name "{local_name}" in the initial cluster configuration')


def check_duplicates(urls_by_name: Mapping[str, Sequence[str]]) -> None:
    urls = [url for listed in urls_by_name.values() for url in listed]
    if len(set(urls)) != len(urls):
        raise BootstrapError(f"initial cluster {format_initial_cluster(urls_by_name)} has duplicate url")


def check_advertised(
    advertised: Sequence[str],
    urls_by_name: Mapping[str, Sequence[str]],
    local_name: str,
    resolve: Resolve | None = None,
) -> None:
    """A founder must announce the very URLs that the others were told to find it at."""
    listed = sorted(urls_by_name[local_name])
    advertised = sorted(advertised)
    reason = url_difference(advertised, listed, resolve)
    if reason is None:
        return
    only_listed = ",".join(f"{local_name}={url}" for url in listed if url not in advertised)
    announced = ",".join(advertised)
    if only_listed:
        raise BootstrapError(
            f"--initial-cluster has {only_listed} but missing from "
            f"--initial-advertise-peer-urls={announced} ({reason})"
        )
    only_announced = ",".join(url for url in advertised if url not in listed)
    ours = format_initial_cluster({local_name: listed})
    if only_announced:
        raise BootstrapError(
            f"--initial-advertise-peer-urls has {only_announced} but missing from --initial-cluster={ours}"
        )
    raise BootstrapError(f"failed to resolve {announced} to match --initial-cluster={ours} ({reason})")


def check_not_bootstrapped(local: Member, running: Iterable[Member]) -> None:
    """A founder that its peers know as started has lost its data; it may not come back as new."""
    for member in running:
        if member.id == local.id and member.client_urls:
            raise BootstrapError(f"member {format_id(local.id)} has already been bootstrapped")


def first_changes(members: Iterable[Member]) -> list[ConfChange]:
    """The changes that every founder writes at index 1 to n of term 1 on its own, in order of id."""
    return [
        ConfChange(ConfChangeType.ADD_NODE, member.id, encode_context(ChangeContext(member)))
        for member in sorted(members, key=lambda member: member.id)
    ]


def new_member(peer_urls: Sequence[str], added_at: int, *, is_learner: bool = False) -> Member:
    """The member that `member add` makes of `peer_urls`; BadUrl for an empty list."""
    if not peer_urls:
        raise BadUrl("no valid URLs given")
    urls = tuple(sorted(peer_urls))
    return Member(member_id(urls, "", added_at), urls, is_learner=is_learner)
