"""The config file: YAML or JSON, read with etcd's rules and complaints.

etcd turns YAML into JSON and hands that to Go's decoder. From there come the rules: keys are matched
without regard to case, unknown keys are passed over, null leaves the default, types must fit exactly, and
an error names the field and the Go type it wants. Settings of TLS, discovery and sockets sit in blocks of
their own.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from etcdpy.server import config_legacy
from etcdpy.server.config_kinds import SWITCH, BadValue, ConfigError, WrongType, json_type
from etcdpy.server.config_table import FLAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from etcdpy.server.config_kinds import Kind

# What etcd calls the structures behind the blocks.
BLOCKS = {
    "client-transport-security": "embed.securityConfig",
    "peer-transport-security": "embed.securityConfig",
    "discovery-config": "v3discovery.DiscoveryConfig",
    "discovery-config/secure": "clientv3.SecureConfig",
    "discovery-config/auth": "clientv3.AuthConfig",
    "socket-options": "transport.SocketOpts",
}
FILE_BYTES_MAX = 16 * 1024 * 1024


def _keys() -> dict[str, tuple[str, Kind[Any]]]:
    """Flag and kind by key; the keys of blocks carry the block's name in front."""
    keys = {flag.file_key: (flag.name, flag.kind) for flag in FLAGS.values() if flag.file_key is not None}
    for name in config_legacy.RENAMED:
        keys[config_legacy.PREFIX + name] = (config_legacy.PREFIX + name, FLAGS[name].kind)
    for name in config_legacy.GATED:
        keys[name] = (name, SWITCH)
    return keys


KEYS = _keys()


class _Loader(yaml.SafeLoader):
    """YAML as Go's library reads it: no dates, no base sixty, `1e3` a number and `y` a truth."""

    bool_values = {**yaml.SafeLoader.bool_values, "y": True, "n": False}  # noqa: RUF012 (as in the base)


_OTHERWISE = ("timestamp", "bool", "int", "float")
_Loader.yaml_implicit_resolvers = {
    first: [(tag, form) for tag, form in resolvers if tag.rpartition(":")[2] not in _OTHERWISE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"(?i:y|yes|n|no|true|false|on|off)\Z"), list("yYnNtTfFoO")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)\Z"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"(?:[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?i:inf)|\.(?i:nan))\Z"
    ),
    list("-+0123456789."),
)


def read_file(path: str) -> dict[str, Any]:
    """Values by flag name. Raises ConfigError."""
    try:
        with Path(path).open("rb") as file:
            data = file.read(FILE_BYTES_MAX)
    except OSError as error:
        raise ConfigError(f"open {path}: {(error.strerror or str(error)).lower()}") from error
    try:
        document = yaml.load(data, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"error converting YAML to JSON: yaml: {one_line(error)}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(
            decoding(f"cannot unmarshal {json_type(document)} into Go value of type embed.configYAML")
        )
    values: dict[str, Any] = {}
    read_block(document, "", values)
    return values


def read_block(block: Mapping[object, object], prefix: str, values: dict[str, Any]) -> None:
    # Go's JSON objects are sorted, so that the first mistake it tells is the first by name.
    for written, value in sorted(block.items(), key=lambda item: str(item[0])):
        key = prefix + str(written).lower()
        if value is None:
            continue
        if key in BLOCKS:
            if not isinstance(value, dict):
                raise ConfigError(mismatch(json_type(value), key, BLOCKS[key]))
            read_block(value, key + "/", values)
        elif key in KEYS:
            name, kind = KEYS[key]
            values[name] = load_value(key, kind, value)


def load_value(key: str, kind: Kind[Any], value: object) -> Any:
    try:
        return kind.load(value)
    except WrongType as error:
        raise ConfigError(mismatch(str(error), key, error.go_type or kind.go_type)) from error
    except BadValue as error:
        raise ConfigError(f"unexpected error setting up {key}: {error}") from error


def mismatch(found: str, key: str, go_type: str) -> str:
    struct = "securityConfig" if key.count("/") and "security" in key else "configYAML"
    field = key.replace("/", ".")
    return decoding(f"cannot unmarshal {found} into Go struct field {struct}.{field} of type {go_type}")


def decoding(text: str) -> str:
    return f"error unmarshaling JSON: while decoding JSON: json: {text}"


def one_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None)
    if mark is not None and problem:
        return f"line {mark.line + 1}: {problem}"
    return " ".join(str(error).split())
