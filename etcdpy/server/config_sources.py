"""From a command line, an environment or a config file to a `Config`.

The three sources speak the same flags (`config_table`) in different forms. A config file excludes the
others; a variable counts only where the command line is silent, and both together are an error even if they
agree, because one of them is surely not meant. What is worth a log line on the way is noted, for there is
no logger before the settings are known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etcdpy.server import config_legacy
from etcdpy.server.config import Config
from etcdpy.server.config_file import read_file
from etcdpy.server.config_kinds import SWITCH, TEXT, BadValue, ConfigError, Kind
from etcdpy.server.config_table import (
    CLIENT_URL_DEFAULT,
    FLAGS,
    INITIAL_CLUSTER_DEFAULT,
    PEER_URL_DEFAULT,
    variable_of,
)
from etcdpy.server.log import Level

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from etcdpy.cluster.urls import Url

CONFIG_FILE, VERSION = "config-file", "version"
VERSION_VARIABLE = "ETCD_VERSION"
PREFIX = "ETCD_"
HIDDEN = "***"

# Flags that never were settings: any value will do.
IGNORED: Kind[str] = Kind("", str, str, str, is_switch=True)


class UsageError(Exception):
    """The command line cannot be understood; the text is what Go's flag package would say."""


class HelpWanted(Exception):
    """`--help` was given."""


class VersionWanted(Exception):
    """`--version` was given."""


class ShadowedVariable(ConfigError):
    """A flag is given on the command line and in the environment."""

    def __init__(self, variable: str) -> None:
        super().__init__(
            "conflicting environment variable is shadowed by corresponding command-line flag "
            "(either unset environment variable or disable flag))"
        )
        self.variable = variable


@dataclass(frozen=True, slots=True)
class Note:
    """A log line for later."""

    level: Level
    message: str
    fields: Mapping[str, object]


def load(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    notes: list[Note],
    default_host: Callable[[], str | None] = lambda: None,
) -> Config:
    """The settings that the sources give. They are well-formed, not yet checked against each other.

    `default_host` names this machine for others, should the announced URLs be left at `localhost`.
    """
    values = parse_arguments(arguments)
    if values.pop(VERSION, False):
        raise VersionWanted
    path = values.get(CONFIG_FILE) or environment.get(variable_of(CONFIG_FILE), "")
    if path:
        values = read_file(path)
        notes.append(
            Note(
                Level.INFO,
                "loaded server configuration, other configuration command line flags and environment "
                "variables will be ignored if provided",
                {"path": path},
            )
        )
    else:
        values = {**values, **from_environment(values.keys(), environment, notes)}
        values.pop(CONFIG_FILE, None)
    explicit = frozenset(values)
    values, warnings = config_legacy.resolve(values)
    notes.extend(Note(Level.WARN, warning, {}) for warning in warnings)
    if not path:
        drop_defaults(values, explicit)
    else:
        drop_file_defaults(values)
    values = {name: value for name, value in values.items() if value != () or not FLAGS[name].default}
    if "listen-client-urls" in explicit and "advertise-client-urls" not in explicit and not path:
        # Whoever moves the listener must say where clients find it.
        values["advertise-client-urls"] = ()
    fill_hosts(values, default_host, notes)
    attributes = {FLAGS[name].attribute: value for name, value in values.items()}
    return Config(**attributes, explicit=explicit)


def parse_arguments(arguments: Sequence[str]) -> dict[str, Any]:
    """Values by flag name out of Go's flag syntax: `-x v`, `--x=v`, and `--x` alone for switches."""
    values: dict[str, Any] = {}
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if len(argument) < 2 or not argument.startswith("-"):
            raise ConfigError(f'"{argument}" is not a valid flag')
        if argument == "--":
            if rest:
                raise ConfigError(f'"{rest[0]}" is not a valid flag')
            break
        name, equals, text = argument.removeprefix("-").removeprefix("-").partition("=")
        if name == "" or name.startswith("-"):
            raise UsageError(f"bad flag syntax: {argument}")
        kind = kind_of(name)
        if kind is None:
            if name in ("h", "help"):
                raise HelpWanted
            raise UsageError(f"flag provided but not defined: -{name}")
        if not equals:
            if kind.is_switch:
                text = "true"
            elif rest:
                text = rest.pop(0)
            else:
                raise UsageError(f"flag needs an argument: -{name}")
        values[name] = parse_value(name, kind, text)
    return values


def parse_value(name: str, kind: Kind[Any], text: str) -> Any:
    try:
        return kind.parse(text)
    except BadValue as error:
        form = (
            'invalid boolean value "{}" for -{}: {}'
            if kind.is_switch
            else 'invalid value "{}" for flag -{}: {}'
        )
        raise UsageError(form.format(text, name, error)) from error


def kind_of(name: str) -> Kind[Any] | None:
    """What kind of value a flag takes; None for a flag that does not exist."""
    name = config_legacy.new_name(name) or name
    if name in FLAGS:
        return FLAGS[name].kind
    if name in config_legacy.GATED or name == VERSION:
        return SWITCH
    if name == CONFIG_FILE:
        return TEXT
    return IGNORED if name in config_legacy.IGNORED else None


def all_names() -> list[str]:
    """Every flag there is, old names included."""
    old = {config_legacy.PREFIX + name for name in config_legacy.RENAMED}
    return sorted({*FLAGS, *old, *config_legacy.GATED, *config_legacy.IGNORED, VERSION, CONFIG_FILE})


def from_environment(
    given: set[str] | Any, environment: Mapping[str, str], notes: list[Note]
) -> dict[str, Any]:
    """Values of the flags that the command line leaves open."""
    environment = dict(environment)
    special = environment.pop(VERSION_VARIABLE, "")
    if special:
        fields = {"key": VERSION_VARIABLE, "value": special}
        notes.append(Note(Level.WARN, "cannot set special environment variable", fields))
    shadowing = {variable_of(name) for name in given}
    values: dict[str, Any] = {}
    used: set[str] = set()
    bad: ConfigError | None = None
    for name in all_names():
        variable = variable_of(name)
        text = environment.get(variable, "")
        kind = kind_of(name)
        if kind is None or variable in shadowing or not text:
            continue
        used.add(variable)
        try:
            values[name] = kind.parse(text)
        except BadValue as error:
            bad = ConfigError(f'invalid value "{text}" for {variable}: {error}')
            continue
        shown = HIDDEN if name in FLAGS and FLAGS[name].secret else text
        fields = {"variable-name": variable, "variable-value": shown}
        notes.append(Note(Level.INFO, "recognized and used environment variable", fields))
    for variable, text in environment.items():
        if variable in shadowing:
            raise ShadowedVariable(variable)
        if variable.startswith(PREFIX) and variable not in used:
            fields = {"environment-variable": f"{variable}={text}"}
            notes.append(Note(Level.WARN, "unrecognized environment variable", fields))
    if bad is not None:
        raise bad
    return values


def drop_defaults(values: dict[str, Any], explicit: frozenset[str]) -> None:
    """A cluster that is discovered has no default list of members."""
    if is_discovered(values) and "initial-cluster" not in explicit:
        values["initial-cluster"] = ""


def drop_file_defaults(values: dict[str, Any]) -> None:
    """The same for a config file, where naming the default is as good as not naming it."""
    if (
        is_discovered(values)
        and values.get("initial-cluster", INITIAL_CLUSTER_DEFAULT) == INITIAL_CLUSTER_DEFAULT
    ):
        values["initial-cluster"] = ""
    if values.get("initial-cluster-state") == "":
        del values["initial-cluster-state"]


def is_discovered(values: Mapping[str, Any]) -> bool:
    names = ("discovery", "discovery-srv", "discovery-srv-name", "discovery-endpoints")
    return any(values.get(name) for name in names)


def fill_hosts(values: dict[str, Any], default_host: Callable[[], str | None], notes: list[Note]) -> None:
    """Announce this machine's address where we listen on all addresses but would announce `localhost`."""
    pairs = (
        ("listen-peer-urls", "initial-advertise-peer-urls", PEER_URL_DEFAULT),
        ("listen-client-urls", "advertise-client-urls", CLIENT_URL_DEFAULT),
    )
    for listen, advertise, default in pairs:
        listened: Url = values.get(listen, (default,))[0]
        if listened.is_unix or listened.host != "0.0.0.0" or values.get(advertise, (default,)) != (default,):
            continue
        host = default_host()
        if host is None:
            notes.append(Note(Level.INFO, "failed to detect default host", {}))
            return
        values[advertise] = (type(default)(f"{listened.scheme}://{host}:{listened.port}"),)
        notes.append(Note(Level.INFO, "detected default host for advertise", {"host": host}))
