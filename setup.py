"""Builds the compiled twins of the hot rooms; everything else about the package is in `pyproject.toml`.

mypyc turns the modules listed there into C, in one group so that calls between them are C calls.
`ETCDPY_PURE` in the environment decides: `1` never compiles, `0` fails where it cannot, and without it a
machine that has no compiler or no Python headers, or on which compiling fails, gets the sources alone, which
do the same more slowly. Editable installs are always pure; in a working tree the twins are made by
`ETCDPY_PURE=0 python setup.py build_ext --inplace` and taken away by `python setup.py clean_inplace`.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
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
PURE = os.environ.get("ETCDPY_PURE", "")
MUST_COMPILE = PURE == "0"
PROBE = "#include <Python.h>\nint main(void) { return Py_IsInitialized(); }\n"
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


def can_compile() -> bool:
    """Whether a C file that includes Python's headers compiles here."""
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    include = sysconfig.get_path("include")
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(PROBE)
        command = [*compiler, f"-I{include}", "-c", str(source), "-o", str(Path(folder, "probe.o"))]
        try:
            return subprocess.run(command, capture_output=True, check=False).returncode == 0
        except OSError:
            return False


def is_building() -> bool:
    """Whether this run builds anything: setup.py is also asked for names and requirements."""
    return not COMMANDS.isdisjoint(sys.argv)


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


def build(extensions: list[Extension]) -> None:
    setup(
        options={"build": {"build_base": f"{WORKSHOP}/base"}} if extensions else {},
        ext_modules=extensions,
        cmdclass={"build_ext": BuildTwins, "clean_inplace": CleanInplace},
    )


def main() -> None:
    os.chdir(ROOT)
    compiles = MUST_COMPILE or (PURE == "" and can_compile())
    if not compiles or not is_building():
        setup(
            setup_requires=["mypy>=2", "types-protobuf"] if compiles else [],
            cmdclass={"build_ext": BuildTwins, "clean_inplace": CleanInplace},
        )
        return
    try:
        build(compiled_modules())
    except (Exception, SystemExit) as failure:
        if MUST_COMPILE:
            raise
        sys.stderr.write(f"the hot rooms do not compile here, the sources alone are built: {failure}\n")
        shutil.rmtree(WORKSHOP, ignore_errors=True)
        build([])


main()
