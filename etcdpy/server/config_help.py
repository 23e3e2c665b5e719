"""The text of `--help` and `--version`, made from the table of flags."""

from __future__ import annotations

import platform
import sys
from itertools import groupby

from etcdpy.proto.version import ETCD_VERSION, __version__
from etcdpy.server import config_legacy
from etcdpy.server.config_table import FLAGS

USAGE = """Usage:

  etcdpy [flags]
    Start an etcd server.

  etcdpy --version
    Show the version of etcd.

  etcdpy -h | --help
    Show the help information about etcd.

  etcdpy --config-file
    Path to the server configuration file. Other flags and environment variables are ignored then.
"""


def help_text() -> str:
    """All flags by section with their defaults, the old names last."""
    parts = []
    for section, flags in groupby(FLAGS.values(), key=lambda flag: flag.section):
        lines = [f"{section}:"]
        for flag in flags:
            lines += [f"  --{flag.name} '{flag.kind.show(flag.default)}'", f"    {flag.meaning}"]
        parts.append("\n".join(lines))
    parts.append("\n".join(["Deprecated names:", *_old_names()]))
    return "\n\n".join(parts)


def _old_names() -> list[str]:
    renamed = {config_legacy.PREFIX + name: f"--{name}" for name in config_legacy.RENAMED}
    gated = {old: f"--feature-gates={gate}=true" for old, gate in config_legacy.GATED.items()}
    return [f"  --{old}\n    Use {new}." for old, new in sorted({**renamed, **gated}.items())]


def version_text() -> str:
    """Four lines in the form of etcd's, which scripts take apart."""
    machine = {"x86_64": "amd64", "AMD64": "amd64", "aarch64": "arm64"}.get(
        platform.machine(), platform.machine()
    )
    return "\n".join(
        [
            f"etcd Version: {ETCD_VERSION}",
            f"Git SHA: etcdpy-{__version__}",
            f"Go Version: none (Python {platform.python_version()})",
            f"Go OS/Arch: {sys.platform}/{machine}",
        ]
    )
