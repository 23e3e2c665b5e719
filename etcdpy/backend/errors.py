"""What can go wrong on the disk under the backend, as the caller sees it.

LMDB's own exceptions stop here: nobody above this room imports `lmdb`. A broken promise of ours is an
`assert`, not one of these.
"""

import lmdb


class BackendError(Exception):
    """The database could not do what was asked; the member must not go on as if it had."""


class BackendFull(BackendError):
    """No room left: on the disk, or in the address range set aside for the map."""


class BackendCorrupt(BackendError):
    """The file is not a database of ours, or its pages do not fit together."""


class BackendLocked(BackendError):
    """Another member (or tool) has the file open."""


def translate(error: lmdb.Error) -> BackendError:
    """LMDB's exception as one of this room."""
    if isinstance(error, (lmdb.MapFullError, lmdb.TxnFullError, lmdb.DiskError)):
        return BackendFull(str(error))
    corrupt = (
        lmdb.CorruptedError,
        lmdb.InvalidError,
        lmdb.PageNotFoundError,
        lmdb.PanicError,
        lmdb.VersionMismatchError,
        lmdb.IncompatibleError,
    )
    return BackendCorrupt(str(error)) if isinstance(error, corrupt) else BackendError(str(error))
