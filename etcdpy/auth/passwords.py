"""Passwords as bcrypt keeps them, interchangeable with those of etcd.

A hash takes some fifty milliseconds of processor time by intent, so these functions belong into a thread.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import Final

from etcdpy.auth.errors import NoPasswordUser, PasswordTooLong

PASSWORD_BYTES_MAX: Final = 72
COST_DEFAULT: Final = 10
COST_MIN, COST_MAX = 4, 31
# The revision of bcrypt that Go writes; all of them verify each other's.
_REVISION: Final = b"2a"


def check_length(password: str) -> bytes:
    """The password as bytes.

    Raises:
        PasswordTooLong: bcrypt would not look at all of it.
    """
    data = password.encode()
    if len(data) > PASSWORD_BYTES_MAX:
        raise PasswordTooLong
    return data


def hash_password(password: bytes, cost: int) -> bytes:
    """The text that is kept instead of the password."""
    import bcrypt  # only now: most members have no users, and all of them start sooner without it

    return bcrypt.hashpw(password, bcrypt.gensalt(cost, _REVISION))


def is_password(password: str, hashed: bytes) -> bool:
    """Whether this is the password. Bytes beyond the 72nd do not count, as when it was hashed by releases
    that did not refuse it.
    """
    import bcrypt

    try:
        return bcrypt.checkpw(password.encode()[:PASSWORD_BYTES_MAX], hashed)
    except ValueError:  # what is kept is no hash
        return False


def effective_cost(cost: int) -> int:
    """`--bcrypt-cost` as far as bcrypt knows it."""
    return cost if COST_MIN <= cost <= COST_MAX else COST_DEFAULT


def to_wire(hashed: bytes) -> str:
    """A hash as it goes through the log, in `hashedPassword`."""
    return b64encode(hashed).decode()


def from_wire(password: str, hashed: str, cost: int) -> bytes:
    """The hash that an entry of the log brings. Entries of releases before 3.5 bring the password itself.

    Raises:
        NoPasswordUser: etcd's answer to what is not base64.
    """
    if password and not hashed:
        return hash_password(password.encode()[:PASSWORD_BYTES_MAX], cost)
    try:
        return b64decode(hashed, validate=True)
    except ValueError:
        raise NoPasswordUser from None
