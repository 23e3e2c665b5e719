"""What can go wrong on the disk under the backend, as the caller sees it.

LMDB's own exceptions stop here: nobody above this room imports `lmdb`. A broken promise of ours is an
`assert`, not one of these.
"""


class BackendError(Exception):
    """The database could not do what was asked; the member must not go on as if it had."""


class BackendFull(BackendError):
    """No room left: on the disk, or in the address range set aside for the map."""


class BackendCorrupt(BackendError):
    """The file is not a database of ours, or its pages do not fit together."""


class BackendLocked(BackendError):
    """Another member (or tool) has the file open."""
