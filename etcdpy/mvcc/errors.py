"""What a reader or an operator may ask of the store that it has to refuse."""


class MvccError(Exception):
    """The request cannot be answered from this store."""


class Compacted(MvccError):
    """The revision asked for is older than the history that is kept."""


class FutureRevision(MvccError):
    """The revision asked for has not happened yet."""


class RangeTooLarge(Exception):
    """A range has more in it than the caller wants to hold in memory; `LargeRange` reads it in pieces."""


class CorruptStore(MvccError):
    """A record in the database is not what this room writes."""
