"""Generate `etcdpy/proto` from the .proto files beside this script, or check that it is current.

    python protos/generate.py            write the modules
    python protos/generate.py --check    exit 1 and name the files that differ

Needs grpcio-tools. The one change to protoc's output: our messages live in a descriptor pool of
their own (`etcdpy.proto.pool`). Python clients of etcd bring generated modules with the same message
names, and the default pool refuses a second definition; with a private pool both can be imported
into one process, which is what an embedded member in a test needs.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "protos" / "etcdpy" / "proto").glob("*.proto"))


def generate(destination: Path) -> list[Path]:
    """Write the modules and their stubs below `destination`; return the files written."""
    arguments = ["protoc", f"-I{ROOT / 'protos'}", f"--python_out={destination}", f"--pyi_out={destination}"]
    status = protoc.main([*arguments, *(str(source) for source in SOURCES)])
    if status != 0:
        raise SystemExit(status)
    written = sorted((destination / "etcdpy" / "proto").glob("*_pb2.py*"))
    for module in written:
        if module.suffix == ".py":
            module.write_text(use_private_pool(module.read_text()))
    return written


def use_private_pool(source: str) -> str:
    """Replace protoc's default descriptor pool by ours."""
    imported = source.replace(
        "from google.protobuf import descriptor_pool as _descriptor_pool\n",
        "from etcdpy.proto import pool as _pool\n",
    )
    replaced = imported.replace("_descriptor_pool.Default()", "_pool.POOL")
    if replaced.count("_pool.POOL") != 1:
        raise SystemExit("protoc's output has changed its form; look at use_private_pool")
    return replaced


def stale_files() -> list[str]:
    """Names of generated files that differ from what protoc makes of the sources today."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = {path.name: path.read_bytes() for path in generate(Path(temporary))}
    present = {path.name: path.read_bytes() for path in (ROOT / "etcdpy" / "proto").glob("*_pb2.py*")}
    return sorted(name for name in fresh.keys() | present.keys() if fresh.get(name) != present.get(name))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="only compare")
    if not parser.parse_args().check:
        generate(ROOT)
        return 0
    stale = stale_files()
    for name in stale:
        sys.stderr.write(f"etcdpy/proto/{name} is not what protos/ generates\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
