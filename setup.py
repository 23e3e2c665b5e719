"""Builds the compiled twins of the hot rooms; everything else about the package is in `pyproject.toml`.

mypyc turns the modules listed there into C, in one group so that calls between them are C calls.
This happens only for who asks, by `ETCDPY_PURE=0` in the environment, and fails where there is no compiler
or no Python headers; everybody else gets the sources, which do the same more slowly. Editable installs are
always pure; `ETCDPY_PURE=0 python setup.py build_ext --inplace` puts the twins into a working tree, and
`python setup.py clean_inplace` takes them away.
"""

from __future__ import annotations

import os
import shutil
import sys
import sysconfig
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from setuptools import Command, setup
from setuptools.command.build_ext import build_ext

if TYPE_CHECKING:
    from setuptools import Extension

ROOT = Path(__file__).resolve().parent
WORKSHOP = "build/compiled"
COMMANDS = frozenset({"bdist_wheel", "build", "build_ext", "install"})
COMPILES = os.environ.get("ETCDPY_PURE") == "0"
REQUIREMENTS = ["mypy>=2", "types-protobuf"] if COMPILES else []
MYPY_FLAGS = ("--config-file=", "--ignore-missing-imports", "--follow-imports=silent", "--no-error-summary")


class BuildTwins(build_ext):
    """The C files of one extension are compiled side by side; setuptools takes one after the other."""

    def build_extensions(self) -> None:
        compile_all = self.compiler.compile
        with ThreadPoolExecutor(os.cpu_count()) as pool:

            def compile_each(sources: list[str], *arguments: Any, **options: Any) -> list[str]:
                lists = pool.map(lambda source: compile_all([source], *arguments, **options), sources)
                return [path for paths in lists for path in paths]

            self.compiler.compile = compile_each  # type: ignore[method-assign]
            super().build_extensions()


class CleanInplace(Command):
    """Takes the compiled twins out of the working tree."""

    user_options: ClassVar[list[tuple[str, str, str]]] = []

    def initialize_options(self) -> None: ...

    def finalize_options(self) -> None: ...

    def run(self) -> None:
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        for path in [*ROOT.glob(f"etcdpy__mypyc{suffix}"), *(ROOT / "etcdpy").rglob(f"*{suffix}")]:
            path.unlink()


def is_wanted() -> bool:
    """Whether this run builds anything: setup.py is also asked for names and requirements."""
    return COMPILES and not COMMANDS.isdisjoint(sys.argv)


def compiled_modules() -> list[Extension]:
    """One extension for each module of the list, and the group's library with all their code."""
    from mypyc.build import mypycify

    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["etcdpy"]
    paths = {
        str(path.relative_to(ROOT))
        for pattern in settings["compiled"]
        for path in ROOT.glob(f"etcdpy/{pattern}")
        if path.name != "__init__.py"
    }
    shutil.rmtree(WORKSHOP, ignore_errors=True)  # what an earlier build has left must not get into this one
    return mypycify(
        [*MYPY_FLAGS, f"--cache-dir={WORKSHOP}/cache", *sorted(paths)],
        opt_level=str(settings["optimization"]),
        debug_level="0",
        multi_file=True,
        group_name="etcdpy",
        target_dir=f"{WORKSHOP}/c",
    )


def main() -> None:
    os.chdir(ROOT)
    extensions = compiled_modules() if is_wanted() else []
    setup(
        options={"build": {"build_base": f"{WORKSHOP}/base"}} if extensions else {},
        setup_requires=REQUIREMENTS,
        ext_modules=extensions,
        cmdclass={"build_ext": BuildTwins, "clean_inplace": CleanInplace},
    )


main()
