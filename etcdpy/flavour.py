"""Whether the hot rooms run compiled.

An installation may hold a compiled twin beside some sources (`setup.py` makes them, `pyproject.toml` lists
them), and Python prefers the twin. `ETCDPY_PURE=1` in the environment prefers the sources: for tests that
patch code, for a debugger, and to tell whether a fault is the compiler's.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import SOURCE_SUFFIXES, ExtensionFileLoader, FileFinder, SourceFileLoader
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.importlib import PathEntryFinderProtocol

PURE = "ETCDPY_PURE"


def wants_sources() -> bool:
    """Whether the environment asks for the sources."""
    return os.environ.get(PURE, "") not in ("", "0")


def prefer_sources(package: str) -> None:
    """From here on, modules below the folder `package` come from their sources."""
    find_sources = FileFinder.path_hook((SourceFileLoader, SOURCE_SUFFIXES))

    def hook(path: str) -> PathEntryFinderProtocol:
        if path != package and not path.startswith(package + os.sep):
            raise ImportError("not ours", path=path)
        return find_sources(path)

    sys.path_hooks.insert(0, hook)
    for path in [known for known in sys.path_importer_cache if known.startswith(package)]:
        del sys.path_importer_cache[path]


def is_compiled() -> bool:
    """Whether this process runs the compiled twins."""
    spec = find_spec("etcdpy.http2.engine")
    assert spec is not None, "the package has no engine"
    # Not "is no source": pytest has a loader of its own for those, as it is told to rewrite their assertions.
    return isinstance(spec.loader, ExtensionFileLoader)
