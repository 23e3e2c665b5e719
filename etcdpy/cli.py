"""The `etcdpy` command: flags, environment and config file in, an exit code out.

The exit codes are etcd's: 0 for help and version, 2 for a command line that cannot be understood, 1 for
settings that no member starts with. Everything else is `etcdpy.embed`'s, which is imported only when there
is a member to run, so that the short answers stay quick.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from typing import TYPE_CHECKING

from etcdpy.flavour import is_compiled
from etcdpy.proto.version import ETCD_VERSION
from etcdpy.server import config_help, config_rules
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.config_sources import (
    HIDDEN,
    HelpWanted,
    Note,
    ShadowedVariable,
    UsageError,
    VersionWanted,
    load,
)
from etcdpy.server.config_table import FLAGS
from etcdpy.server.log import Level, Logger, open_logger
from etcdpy.server.log_outputs import BadLogSetting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.server.config import Config

EXIT_OK, EXIT_REFUSED, EXIT_USAGE = 0, 1, 2
SUBCOMMANDS = ("gateway", "grpc-proxy")


def main(argv: Sequence[str] | None = None, *, root_password: str = "") -> int:
    """Run the command with `argv` (without the program's name) and give its exit code.

    Args:
        root_password: a new cluster begins with auth on and this password of root.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in SUBCOMMANDS:
        text = f"etcdpy {arguments[0]} is not supported: it is no server; use etcd's own in front of etcdpy"
        return say(text, EXIT_REFUSED)
    notes: list[Note] = []
    try:
        config = load(arguments, os.environ, notes, default_host)
        log = open_log(config)
    except UsageError as error:
        return say(f"{error}\n{config_help.USAGE}", EXIT_USAGE)
    except HelpWanted:
        sys.stdout.write(config_help.help_text() + "\n")
        return say(config_help.USAGE, EXIT_OK)
    except VersionWanted:
        sys.stdout.write(config_help.version_text() + "\n")
        return EXIT_OK
    except ConfigError as error:
        return refuse(open_logger(), arguments, notes, error)
    try:
        config_rules.check(config)
    except ConfigError as error:
        return refuse(log, arguments, notes, error)
    announce(log, arguments, notes)
    for message, fields in config_rules.advice(config):
        log.warn(message, **fields)
    gc.disable()  # a tenth of the imports, and for nothing: what they make stays. `embed.run` enables it
    from etcdpy import embed

    log.info("starting an etcd server", etcd_version=ETCD_VERSION, compiled=is_compiled())
    return embed.run(config, log, root_password)


def say(text: str, code: int) -> int:
    sys.stderr.write(text + "\n")
    return code


def open_log(config: Config) -> Logger:
    try:
        return Logger.from_config(config)
    except BadLogSetting as error:
        raise ConfigError(str(error)) from error


def announce(log: Logger, arguments: Sequence[str], notes: Sequence[Note]) -> None:
    """What was found on the way to the settings, then how we were called."""
    writers = {Level.INFO: log.info, Level.WARN: log.warn}
    for note in notes:
        writers[note.level](note.message, **note.fields)
    log.info("Running: ", args=[sys.argv[0], *hide_secrets(arguments)])


def refuse(log: Logger, arguments: Sequence[str], notes: Sequence[Note], error: ConfigError) -> int:
    """Tell why there will be no member."""
    announce(log, arguments, notes)
    if isinstance(error, ShadowedVariable):
        log.fatal(str(error), environment_variable=error.variable)
    log.warn("failed to verify flags", error=str(error))
    if isinstance(error, config_rules.UnsetAdvertiseClientUrls):
        log.warn("advertise client URLs are not set", error=str(error))
    return EXIT_REFUSED


def hide_secrets(arguments: Sequence[str]) -> list[str]:
    """The arguments for the log, without passwords."""
    shown: list[str] = []
    hide_next = False
    for argument in arguments:
        name, equals, _ = argument.lstrip("-").partition("=")
        secret = argument.startswith("-") and name in FLAGS and FLAGS[name].secret
        if hide_next:
            shown.append(HIDDEN)
        elif secret and equals:
            shown.append(argument.partition("=")[0] + "=" + HIDDEN)
        else:
            shown.append(argument)
        hide_next = secret and not equals and not hide_next
    return shown


def default_host() -> str | None:
    """The IPv4 address of this machine on its default route, None without one. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting a datagram socket only asks the routing table; the address is one of TEST-NET-1.
            probe.connect(("192.0.2.1", 9))
            host: str = probe.getsockname()[0]
        except OSError:
            return None
    return host


if __name__ == "__main__":
    raise SystemExit(main())
