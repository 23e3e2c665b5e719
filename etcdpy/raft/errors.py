"""What can go wrong in the raft room that is not our own bug.

Our own bugs are assertions. These types are for other people's bytes, for proposals that nobody can take now,
and for a log on disk or a peer that contradicts what was already committed.
"""


class RaftError(Exception):
    """Anything the raft room raises on purpose."""


class ProposalDropped(RaftError):
    """Nobody can take this proposal now: no leader, leadership on the move, or too much uncommitted."""


class MalformedMessage(RaftError):
    """Bytes, or a message made from them, that no correct raft member would have sent."""


class IllegalConfChange(RaftError):
    """A configuration change that cannot follow from the present configuration; nothing was changed."""


class LogDiverged(RaftError):
    """The log contradicts what a quorum has committed, so this member must stop.

    The usual cause is a member that came back under its old id without its data: the leader tells it that
    entries are committed which it acknowledged once and no longer has.
    """
