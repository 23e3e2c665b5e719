"""What a member tells its log.

These lines are here and not where they are decided because `Member` is compiled: compiled code has no frame,
and the log names the module and line of its caller by looking for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.server.log import duration_text

if TYPE_CHECKING:
    from etcdpy.raft.messages import SoftState
    from etcdpy.server.log import Logger


def failed(log: Logger, message: str, error: Exception) -> None:
    log.error(message, error=str(error))


def removed(log: Logger) -> None:
    log.warn("the member has been permanently removed from the cluster")


def leader_changed(log: Logger, soft_state: SoftState, term: int) -> None:
    log.info("leader changed", leader=f"{soft_state.leader:x}", term=term, role=soft_state.role.name)


def applied_slowly(log: Logger, took_s: float, expected_s: float, entries: int) -> None:
    log.warn(
        "apply request took too long",
        took=duration_text(took_s),
        expected_duration=duration_text(expected_s),
        entries=entries,
    )
