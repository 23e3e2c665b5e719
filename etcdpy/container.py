"""The entry point of the container image: `etcdpy`, and what images of etcd are asked for besides.

    ETCD_ROOT_PASSWORD, ETCD_ROOT_PASSWORD_FILE
        the password of root: a new cluster begins with auth on
    ALLOW_NONE_AUTHENTICATION
        `no` refuses to start without one of them; anybody may do anything then
    BITNAMI_DEBUG
        `true` is `ETCD_LOG_LEVEL=debug`

Everything else is `etcdpy`'s: flags, and `ETCD_*` for each of them. Images of etcd are also started with the
name of the program as the first argument, which is dropped; another program of the image is run in our place.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from etcdpy import cli

if TYPE_CHECKING:
    from collections.abc import MutableMapping, Sequence

PASSWORD, PASSWORD_FILE = "ETCD_ROOT_PASSWORD", "ETCD_ROOT_PASSWORD_FILE"
ALLOW_NONE = "ALLOW_NONE_AUTHENTICATION"
DEBUG = "BITNAMI_DEBUG"
LOG_LEVEL = "ETCD_LOG_LEVEL"
SERVER_NAMES = frozenset(("etcd", "etcdpy"))
YES = frozenset(("yes", "true", "1"))
NO = frozenset(("no", "false", "0"))
EXIT_NOT_FOUND = 127


class BadSetting(Exception):
    """A variable that we must not pass over; the text says which and why."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server, or the program that was asked for."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and not arguments[0].startswith("-"):
        program = arguments.pop(0)
        if Path(program).name not in SERVER_NAMES:
            return run_instead(program, arguments)
    try:
        password = take_settings(os.environ)
    except BadSetting as error:
        sys.stderr.write(f"{error}\n")
        return cli.EXIT_REFUSED
    return cli.main(arguments, root_password=password)


def take_settings(environment: MutableMapping[str, str]) -> str:
    """The root password, empty if there is to be none. Takes what is not etcd's out of the environment, so
    that no secret is left in it and nothing is warned of.

    Raises:
        BadSetting: the password cannot be read, or there must be one.
    """
    password = environment.pop(PASSWORD, "")
    file = environment.pop(PASSWORD_FILE, "")
    allow_none = environment.pop(ALLOW_NONE, "").lower()
    if environment.pop(DEBUG, "").lower() in YES:
        environment.setdefault(LOG_LEVEL, "debug")
    if file:
        if password:
            raise BadSetting(f"{PASSWORD} and {PASSWORD_FILE} are both set; one of them is not meant")
        try:
            password = Path(file).read_text().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"{PASSWORD_FILE}: {error}") from error
        if not password:
            raise BadSetting(f"{PASSWORD_FILE}: {file} is empty")
    if allow_none not in YES | NO | {""}:
        raise BadSetting(f"{ALLOW_NONE} is {allow_none!r}; it may be yes or no")
    if allow_none in NO and not password:
        raise BadSetting(f"{ALLOW_NONE} forbids to start without authentication: set {PASSWORD}")
    return password


def run_instead(program: str, arguments: Sequence[str]) -> int:
    """Become another program."""
    found = shutil.which(program)
    if found is None:
        sys.stderr.write(f"{program}: not found\n")
        return EXIT_NOT_FOUND
    os.execv(found, [program, *arguments])
    raise AssertionError("not reached: that other program runs now")


if __name__ == "__main__":
    raise SystemExit(main())
