"""The `etcdpyctl` command: etcdctl's commands, flags, variables, outputs and exit codes.

The tree of commands is here; a command's module is imported when that command runs, because the start is most
of what a short command costs.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from etcdpy.ctl import ctl_flags as flags
from etcdpy.ctl.command_line import Command, Flag, HelpWanted, Options, UsageFault, parse, usage_text
from etcdpy.ctl.output import EXIT_ERROR, Fault
from etcdpy.proto.version import ETCD_VERSION, __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["ROOT", "main"]

NAME: Final = "etcdpyctl"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (without the program's name) and give its exit code."""
    # As programs in Go do it: a signal, or a reader that has gone, ends us at once and silently.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        wanted = parse(ROOT, sys.argv[1:] if argv is None else argv, by_prefix=True)
        assert wanted.command.run is not None, f"{wanted.command.path} does nothing"
        wanted.command.run(wanted.arguments, wanted.options)
    except HelpWanted as help_wanted:
        sys.stdout.write(usage_text(ROOT, help_wanted.command))
    except UsageFault as fault:
        return _explain(fault)
    except Fault as fault:
        if str(fault):
            sys.stderr.write(f"Error: {fault}\n")
        return fault.code
    return 0


def run() -> None:
    """The console script. It does not wait for connections and threads: nothing is left to do."""
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _explain(fault: UsageFault) -> int:
    """As etcdctl does: the complaint twice on standard error, the usage on standard output."""
    if fault.command is not None:
        sys.stdout.write(usage_text(ROOT, fault.command))
    if str(fault).startswith("Unknown help topic"):
        sys.stderr.write(f"{fault}\n")
        return 0
    sys.stderr.write(f"Error: {fault}\n{fault.hint}\nError: {fault}\n")
    return EXIT_ERROR


def version(arguments: Sequence[str], options: Options) -> None:
    """Tell our version, and which API we speak."""
    api = ".".join(ETCD_VERSION.split(".")[:2])
    sys.stdout.write(f"{NAME} version: {__version__}\nAPI version: {api}\n")


def completion(arguments: Sequence[str], options: Options) -> None:
    """Write a script for a shell."""
    from etcdpy.ctl.completion import completion_script, shell_of

    sys.stdout.write(completion_script(ROOT, shell_of(arguments)))


def _later(module: str, function: str) -> Callable[[Sequence[str], Options], None]:
    """A command's function, whose module is imported when it runs."""

    def run_it(arguments: Sequence[str], options: Options) -> None:
        if not options.is_set("debug"):
            os.environ.setdefault(*flags.LIBRARY_LOG)
        getattr(import_module(f"etcdpy.ctl.{module}"), function)(arguments, options)

    return run_it


def _leaf(
    path: str, short: str, module: str, function: str, own: tuple[Flag, ...] = (), usage: str = ""
) -> Command:
    """A command that does something; `usage` is what follows its name."""
    *parents, name = path.split()
    words = " ".join((NAME, path, *([usage] if usage else []), "[flags]"))
    return Command(
        name, short, usage=words, flags=own, run=_later(module, function), parents=(NAME, *parents)
    )


def _group(name: str, short: str, *commands: Command, flags: tuple[Flag, ...] = ()) -> Command:
    usage = f"{NAME} {name} <subcommand> [flags]"
    return Command(name, short, usage=usage, flags=flags, commands=commands, parents=(NAME,))


LEASE: Final = _group(
    "lease",
    "Keys that end by themselves",
    _leaf("lease grant", "Make a lease", "ctl_lease", "grant", usage="<ttl>"),
    _leaf("lease revoke", "End a lease and its keys", "ctl_lease", "revoke", usage="<leaseID>"),
    _leaf(
        "lease timetolive",
        "Show how long a lease has",
        "ctl_lease",
        "time_to_live",
        flags.TIME_TO_LIVE,
        "<leaseID>",
    ),
    _leaf("lease list", "List all leases", "ctl_lease", "leases"),
    _leaf("lease keep-alive", "Renew a lease", "ctl_lease", "keep_alive", flags.KEEP_ALIVE, "<leaseID>"),
)

MEMBER: Final = _group(
    "member",
    "Who is in the cluster",
    _leaf("member add", "Add a member", "ctl_cluster", "add", flags.MEMBER_ADD, "<memberName>"),
    _leaf("member remove", "Remove a member", "ctl_cluster", "remove", usage="<memberID>"),
    _leaf(
        "member update",
        "Change a member's peer URLs",
        "ctl_cluster",
        "update",
        flags.MEMBER_UPDATE,
        "<memberID>",
    ),
    _leaf("member list", "List all members", "ctl_cluster", "members", flags.MEMBER_LIST),
    _leaf("member promote", "Give a learner a vote", "ctl_cluster", "promote", usage="<memberID>"),
)

ENDPOINT: Final = _group(
    "endpoint",
    "Ask each endpoint by itself",
    _leaf("endpoint health", "Show which endpoints answer", "ctl_endpoint", "health"),
    _leaf("endpoint status", "Show size, leader, term and index", "ctl_endpoint", "status"),
    _leaf("endpoint hashkv", "Show hashes of the keys", "ctl_endpoint", "hashkv", flags.HASH),
    flags=(flags.CLUSTER,),
)

ALARM: Final = _group(
    "alarm",
    "Alarms of the cluster",
    _leaf("alarm disarm", "Switch all alarms off", "ctl_endpoint", "alarm_disarm"),
    _leaf("alarm list", "List all alarms", "ctl_endpoint", "alarm_list"),
)

SNAPSHOT: Final = _group(
    "snapshot",
    "All data in one file",
    _leaf("snapshot save", "Store a snapshot of one member", "ctl_endpoint", "snapshot_save", usage="<file>"),
    _leaf(
        "snapshot restore",
        "Make a data directory of a snapshot; see etcdpyutl",
        "ctl_endpoint",
        "snapshot_restore",
        flags.RESTORE,
        "<file>",
    ),
    _leaf(
        "snapshot status",
        "Sum a snapshot up; see etcdpyutl",
        "ctl_endpoint",
        "snapshot_status",
        usage="<file>",
    ),
)

AUTH: Final = _group(
    "auth",
    "Whether users are asked for",
    _leaf("auth enable", "Ask for users", "ctl_auth", "auth_enable"),
    _leaf("auth disable", "Ask for users no more", "ctl_auth", "auth_disable"),
    _leaf("auth status", "Show whether users are asked for", "ctl_auth", "auth_status"),
)

USER: Final = _group(
    "user",
    "Users",
    _leaf("user add", "Make a user", "ctl_auth", "user_add", flags.USER_ADD, "<name or name:password>"),
    _leaf("user delete", "Remove a user", "ctl_auth", "user_delete", usage="<name>"),
    _leaf("user get", "Show a user's roles", "ctl_auth", "user_get", flags.USER_GET, "<name>"),
    _leaf("user list", "List all users", "ctl_auth", "user_list"),
    _leaf("user passwd", "Change a password", "ctl_auth", "user_passwd", flags.USER_PASSWORD, "<name>"),
    _leaf("user grant-role", "Give a role to a user", "ctl_auth", "user_grant_role", usage="<name> <role>"),
    _leaf("user revoke-role", "Take a role away", "ctl_auth", "user_revoke_role", usage="<name> <role>"),
)

ROLE: Final = _group(
    "role",
    "Roles, and what they permit",
    _leaf("role add", "Make a role", "ctl_auth", "role_add", usage="<name>"),
    _leaf("role delete", "Remove a role", "ctl_auth", "role_delete", usage="<name>"),
    _leaf("role get", "Show what a role permits", "ctl_auth", "role_get", usage="<name>"),
    _leaf("role list", "List all roles", "ctl_auth", "role_list"),
    _leaf(
        "role revoke-permission",
        "Take a permission from a role",
        "ctl_auth",
        "role_revoke_permission",
        flags.ROLE_RANGE,
        "<name> <key> [end]",
    ),
    _leaf(
        "role grant-permission",
        "Permit a role to read or write keys",
        "ctl_auth",
        "role_grant_permission",
        flags.ROLE_RANGE,
        "<name> read|write|readwrite <key> [end]",
    ),
)

CHECK: Final = _group(
    "check",
    "Whether the cluster bears a load",
    _leaf("check perf", "Put for a minute", "ctl_check", "perf", flags.PERF),
    _leaf("check datascale", "Put many keys, and see the memory", "ctl_check", "datascale", flags.SCALE),
)

DOWNGRADE: Final = _group(
    "downgrade",
    "Back to the version before",
    _leaf(
        "downgrade validate",
        "Show whether it could be",
        "ctl_cluster",
        "downgrade_validate",
        usage="<version>",
    ),
    _leaf("downgrade enable", "Begin", "ctl_cluster", "downgrade_enable", usage="<version>"),
    _leaf("downgrade cancel", "Stay", "ctl_cluster", "downgrade_cancel"),
)

# In etcdctl's order, which is that of its suggestions.
ROOT: Final = Command(
    NAME,
    "A command line client of etcd",
    flags=flags.GLOBAL,
    commands=(
        _leaf("get", "Read keys", "ctl_kv", "get", flags.GET, "[options] <key> [range_end]"),
        _leaf("put", "Write a key", "ctl_kv", "put", flags.PUT, "[options] <key> [value, or standard input]"),
        _leaf("del", "Remove keys", "ctl_kv", "delete", flags.DELETE, "[options] <key> [range_end]"),
        _leaf("txn", "Compare, and do one thing or another", "ctl_txn", "txn", flags.TXN),
        _leaf("compaction", "Forget history", "ctl_kv", "compaction", flags.COMPACTION, "<revision>"),
        ALARM,
        _leaf("defrag", "Give free pages back", "ctl_endpoint", "defrag", flags.DEFRAG),
        ENDPOINT,
        _leaf("move-leader", "Let another member lead", "ctl_cluster", "move_leader", usage="<memberID>"),
        _leaf(
            "watch",
            "Show what happens to keys",
            "ctl_watch",
            "watch",
            flags.WATCH,
            "[options] [key] [range_end] [-- command argument...]",
        ),
        _leaf("version", f"Show the version of {NAME}", "ctl", "version"),
        LEASE,
        MEMBER,
        SNAPSHOT,
        _leaf("make-mirror", "Copy to another cluster", "ctl_mirror", "make_mirror", flags.MIRROR, "<to>"),
        _leaf(
            "lock",
            "Hold a lock while a command runs",
            "ctl_lock",
            "lock",
            flags.LOCK,
            "<name> [command argument...]",
        ),
        _leaf("elect", "Lead, or see who leads", "ctl_lock", "elect", flags.ELECT, "<name> [proposal]"),
        AUTH,
        USER,
        ROLE,
        CHECK,
        DOWNGRADE,
        _leaf("completion", "Write a script for a shell", "ctl", "completion", usage="bash|zsh|fish"),
    ),
)


if __name__ == "__main__":
    run()
