"""The `etcdpyutl` command: work on the files of members that are not running.

It is etcdutl for our data directories, with two commands more: `import` and `export` carry a stopped member
from the Go server to this one and back. Flags, outputs, errors and exit codes are etcdutl's.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from etcdpy import bolt, wal
from etcdpy.backend import Backend, BackendError
from etcdpy.cluster.bootstrap import BootstrapError
from etcdpy.cluster.membership import CorruptMembership
from etcdpy.ctl.command_line import Command, Flag, HelpWanted, Options, UsageFault, parse, usage_text
from etcdpy.ctl.completion import completion_script, shell_of
from etcdpy.ctl.output import EXIT_ERROR, Fault, human_bytes, note
from etcdpy.ctl.utl_database import is_lmdb, remove_lock
from etcdpy.ctl.utl_directory import locked, resolve_layout
from etcdpy.ctl.utl_hash import hashkv
from etcdpy.ctl.utl_migrate import migrate
from etcdpy.ctl.utl_snapshot import restore, status
from etcdpy.ctl.utl_transfer import export_member, import_member
from etcdpy.mvcc import CorruptStore
from etcdpy.proto.version import ETCD_VERSION, __version__
from etcdpy.raft.errors import RaftError
from etcdpy.server.bootstrap import DataDirectoryError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ROOT", "main"]

NAME = "etcdpyutl"

# What foreign files and the disk can do to us; everything else is a bug and shows its trace.
FAULTS = (
    bolt.BoltError,
    wal.WalError,
    BackendError,
    CorruptStore,
    CorruptMembership,
    BootstrapError,
    DataDirectoryError,
    RaftError,
    DecodeError,
    ValueError,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with `argv` (without the program's name) and give its exit code."""
    try:
        wanted = parse(ROOT, sys.argv[1:] if argv is None else argv)
        assert wanted.command.run is not None, f"{wanted.command.path} does nothing"
        wanted.command.run(wanted.arguments, wanted.options)
    except HelpWanted as help_wanted:
        sys.stdout.write(usage_text(ROOT, help_wanted.command))
        return 0
    except UsageFault as fault:
        return _explain(fault)
    except Fault as fault:
        return _say(str(fault), fault.code)
    except OSError as error:
        return _say(_go_text(error), EXIT_ERROR)
    except FAULTS as error:
        return _say(str(error), EXIT_ERROR)
    return 0


def _say(text: str, code: int) -> int:
    sys.stderr.write(f"Error: {text}\n")
    return code


def _explain(fault: UsageFault) -> int:
    """As etcdutl does: the complaint, the usage, and the complaint again."""
    if str(fault).startswith("Unknown help topic"):
        sys.stderr.write(f"{fault}\n{usage_text(ROOT, ROOT)}")
        return 0
    shown = f"{fault.hint}\n" if fault.command is None else usage_text(ROOT, fault.command) + "\n"
    sys.stderr.write(f"Error: {fault}\n{shown}Error: {fault}\n")
    return EXIT_ERROR


def _go_text(error: OSError) -> str:
    """`open FILE: no such file or directory`, as Go's `PathError` reads."""
    reason = (error.strerror or str(error)).lower()
    return f"open {error.filename}: {reason}" if error.filename else reason


def version(arguments: Sequence[str], options: Options) -> None:
    """Tell our version, and which API we speak."""
    api = ".".join(ETCD_VERSION.split(".")[:2])
    sys.stdout.write(f"{NAME} version: {__version__}\nAPI version: {api}\n")


def completion(arguments: Sequence[str], options: Options) -> None:
    """Write a script for a shell."""
    sys.stdout.write(completion_script(ROOT, shell_of(arguments)))


def defrag(arguments: Sequence[str], options: Options) -> None:
    """Copy the database without its free pages."""
    where = resolve_layout(options.text("data-dir"), "")
    path = where.backend
    if not is_lmdb(path):
        raise Fault(f"{path} is no database of etcdpy")
    started = time.monotonic()
    with locked(where):
        before, after = _defragment(path)
    note(
        "finished defragmenting directory",
        path=path,
        current_db_size_bytes_diff=after - before,
        current_db_size_bytes=after,
        current_db_size=human_bytes(after),
        took=round(time.monotonic() - started, 6),
    )


def _defragment(path: Path) -> tuple[int, int]:
    """The size in bytes before and after."""
    backend = Backend.open(path)
    failures: list[BackendError] = []
    try:
        before = backend.size_bytes
        backend.defragment(lambda error: failures.append(error) if error is not None else None)
        if failures:
            raise failures[0]
        return before, backend.size_bytes
    finally:
        backend.abandon()
        remove_lock(path)


WRITE_OUT = Flag(
    "write-out",
    "simple",
    "set the output format (fields, json, protobuf, simple, table)",
    short="w",
)
DATA_DIR = Flag("data-dir", "", "Path to the output data directory", required=True)
WAL_DIR = Flag("wal-dir", "", "Path to the WAL directory (use --data-dir if none given)")
FROM_WAL_DIR = Flag("from-wal-dir", "", "Path to the WAL directory of the source (use --from if none given)")

RESTORE_FLAGS = (
    DATA_DIR,
    WAL_DIR,
    Flag(
        "initial-cluster",
        "default=http://localhost:2380",
        "Initial cluster configuration for restore bootstrap",
    ),
    Flag(
        "initial-cluster-token",
        "etcd-cluster",
        "Initial cluster token for the etcd cluster during restore bootstrap",
    ),
    Flag(
        "initial-advertise-peer-urls",
        "http://localhost:2380",
        "List of this member's peer URLs to advertise to the rest of the cluster",
    ),
    Flag("name", "default", "Human-readable name for this member"),
    Flag(
        "skip-hash-check",
        False,
        "Ignore snapshot integrity hash value (required if copied from data directory)",
    ),
    Flag("initial-memory-map-size", 10 << 30, "Taken for etcdutl's sake; has no effect", unsigned=True),
    Flag("bump-revision", 0, "How much to increase the latest revision after restore", unsigned=True),
    Flag(
        "mark-compacted",
        False,
        "Mark the latest revision after restore as the point of scheduled compaction "
        "(required if --bump-revision > 0, disallowed otherwise)",
    ),
)

SNAPSHOT = Command(
    "snapshot",
    "Manages etcd node snapshots",
    parents=(NAME,),
    commands=(
        Command(
            "restore",
            "Restores an etcd member snapshot to an etcd directory",
            usage=f"{NAME} snapshot restore <filename> --data-dir {{output dir}} [options] [flags]",
            flags=RESTORE_FLAGS,
            run=restore,
            parents=(NAME, "snapshot"),
        ),
        Command(
            "status",
            "Gets backend snapshot status of a given file",
            usage=f"{NAME} snapshot status <filename> [flags]",
            run=status,
            parents=(NAME, "snapshot"),
        ),
    ),
)

ROOT = Command(
    NAME,
    "Works on the files of members that are not running",
    flags=(WRITE_OUT,),
    commands=(
        SNAPSHOT,
        Command(
            "completion",
            "Writes a script that completes commands for a shell",
            usage=f"{NAME} completion bash|zsh|fish [flags]",
            run=completion,
            parents=(NAME,),
        ),
        Command(
            "defrag",
            "Defragments the storage of the etcd",
            usage=f"{NAME} defrag [flags]",
            flags=(
                Flag(
                    "data-dir",
                    "",
                    "Required. Defragments a data directory not in use by etcd.",
                    required=True,
                ),
            ),
            run=defrag,
            parents=(NAME,),
        ),
        Command(
            "export",
            "Makes a data directory of the Go server out of a stopped member's",
            usage=f"{NAME} export --from {{our data dir}} --data-dir {{output dir}} [flags]",
            flags=(
                Flag("from", "", "Path to the data directory of the stopped etcdpy member", required=True),
                FROM_WAL_DIR,
                DATA_DIR,
                WAL_DIR,
                Flag("target-version", "3.5", "Version of the server that is to start on it"),
            ),
            run=export_member,
            parents=(NAME,),
        ),
        Command(
            "hashkv",
            "Prints the KV history hash of a given file",
            usage=f"{NAME} hashkv <filename> [flags]",
            flags=(Flag("rev", 0, "maximum revision to hash (default: latest revision)"),),
            run=hashkv,
            parents=(NAME,),
        ),
        Command(
            "import",
            "Makes a data directory of etcdpy out of a stopped Go member's",
            usage=f"{NAME} import --from {{Go data dir}} --data-dir {{output dir}} [flags]",
            flags=(
                Flag("from", "", "Path to the data directory of the stopped Go member", required=True),
                FROM_WAL_DIR,
                DATA_DIR,
                WAL_DIR,
            ),
            run=import_member,
            parents=(NAME,),
        ),
        Command(
            "migrate",
            "Migrates schema of etcd data dir files to make them compatible with different etcd version",
            usage=f"{NAME} migrate [flags]",
            flags=(
                Flag("data-dir", "", "Path to the etcd data dir", required=True),
                Flag(
                    "target-version", "", "Target etcd version to migrate contents of data dir", required=True
                ),
                Flag("force", False, "Ignore migration failure and forcefully override storage version"),
            ),
            run=migrate,
            parents=(NAME,),
        ),
        Command(
            "version",
            f"Prints the version of {NAME}",
            usage=f"{NAME} version [flags]",
            run=version,
            parents=(NAME,),
        ),
    ),
)


if __name__ == "__main__":
    raise SystemExit(main())
