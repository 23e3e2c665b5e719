"""Log lines in the form etcd's zap logger gives them, so that the tools which read etcd's log read ours.

A line is one JSON object: level, ts, caller, msg, then the fields of the call in the order given, the
keyword's underscores turned into dashes (`member_id=1` is `"member-id":1`). `console` is zap's tab
separated form of the same. The caller is the module and line of the code that logs, found from its frame.

Logging must cost nothing when it is off and never stop a member: a method looks at the level before
anything else, and a line that cannot be written is dropped. There is no queue and no thread; a line is one
write. Where lines go is the business of `log_outputs`.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta
from enum import Enum, IntEnum
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, NoReturn

from etcdpy.server.log_outputs import DEFAULT, BadLogSetting, Rotation, Sink, is_file, open_sink

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType

    from etcdpy.server.config import Config


class Level(IntEnum):
    """How much a line matters; a logger drops what lies below its own level."""

    DEBUG = 0
    INFO = 1
    WARN = 2
    ERROR = 3
    DPANIC = 4
    PANIC = 5
    FATAL = 6

    @classmethod
    def parse(cls, text: str) -> Level:
        """The level etcd calls `text`; the name may be all capitals, as in zap."""
        name = text if text != "" else "info"
        if name not in (name.lower(), name.upper()) or name.upper() not in cls.__members__:
            raise BadLogSetting(f'unrecognized level: "{text}"')
        return cls[name.upper()]


class Logger:
    """Writes lines of at least `level` to every sink. Loggers made by `named` and `bind` share the sinks."""

    __slots__ = ("_bound", "_console", "_name", "_sinks", "level")

    def __init__(
        self, level: Level, sinks: Sequence[Sink], *, console: bool = False, name: str = "", bound: str = ""
    ) -> None:
        self.level = level
        self._sinks = tuple(sinks)
        self._console = console
        self._name = name
        self._bound = bound

    @classmethod
    def from_config(cls, config: Config) -> Logger:
        """The logger that the `--log-*` flags describe; raises `BadLogSetting`."""
        rotation = Rotation.parse(config.log_rotation_config_json) if config.enable_log_rotation else None
        return open_logger(config.log_outputs, config.log_level, config.log_format, rotation)

    @classmethod
    def silent(cls) -> Logger:
        """A logger for tests: it writes nowhere."""
        return cls(Level.FATAL, ())

    def named(self, name: str) -> Logger:
        """The same logger under a name (`"logger":"raft"`)."""
        joined = f"{self._name}.{name}" if self._name else name
        return Logger(self.level, self._sinks, console=self._console, name=joined, bound=self._bound)

    def bind(self, **fields: object) -> Logger:
        """The same logger with fields that every line repeats."""
        bound = self._bound + self._encode_fields(fields)
        return Logger(self.level, self._sinks, console=self._console, name=self._name, bound=bound)

    def is_on(self, level: Level) -> bool:
        """Whether a line of this level would be written; for callers whose fields are costly to make."""
        return level >= self.level

    def debug(self, message: str, /, **fields: object) -> None:
        if self.level <= 0:
            self._write(Level.DEBUG, message, fields)

    def info(self, message: str, /, **fields: object) -> None:
        if self.level <= 1:
            self._write(Level.INFO, message, fields)

    def warn(self, message: str, /, **fields: object) -> None:
        if self.level <= 2:
            self._write(Level.WARN, message, fields)

    def error(self, message: str, /, **fields: object) -> None:
        if self.level <= 3:
            self._write(Level.ERROR, message, fields)

    def fatal(self, message: str, /, **fields: object) -> NoReturn:
        """Write the line and leave the process with code 1, as etcd does."""
        self._write(Level.FATAL, message, fields)
        self.close()
        raise SystemExit(1)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def _write(self, level: Level, message: str, fields: dict[str, object]) -> None:
        caller = find_caller(2)
        if level >= Level.ERROR:
            stack = stack_of(fields)
            if stack is not None:
                fields = {**fields, "stacktrace": stack}
        encoded = self._bound + self._encode_fields(fields)
        line = self._console_line if self._console else self._json_line
        data = line(level.name.lower(), caller, message, encoded).encode("utf-8", "backslashreplace")
        for sink in self._sinks:
            sink.write(data)

    def _encode_fields(self, fields: dict[str, object]) -> str:
        # Console output is JSON with a space after each separator, as zap writes it.
        separator = ", %s: %s" if self._console else ",%s:%s"
        return "".join(
            separator % (encode_basestring(key.replace("_", "-")), encode_value(value))
            for key, value in fields.items()
        )

    def _json_line(self, level: str, caller: str, message: str, fields: str) -> str:
        name = f',"logger":{encode_basestring(self._name)}' if self._name else ""
        return (
            f'{{"level":"{level}","ts":"{timestamp()}"{name},"caller":{encode_basestring(caller)},'
            f'"msg":{encode_basestring(message)}{fields}}}\n'
        )

    def _console_line(self, level: str, caller: str, message: str, fields: str) -> str:
        name = f"{self._name}\t" if self._name else ""
        tail = f"\t{{{fields[2:]}}}" if fields else ""
        return f"{timestamp()}\t{level}\t{name}{caller}\t{message}{tail}\n"


def open_logger(
    outputs: Sequence[str] = (DEFAULT,),
    level: str = "info",
    log_format: str = "json",
    rotation: Rotation | None = None,
) -> Logger:
    """A logger on the named outputs; raises `BadLogSetting`."""
    parsed = Level.parse(level)
    if log_format not in ("json", "console"):
        raise BadLogSetting(f"unknown log format: {log_format}, supported values json, console")
    if not outputs:
        outputs = (DEFAULT,)
    if DEFAULT in outputs and len(outputs) > 1:
        raise BadLogSetting('multi logoutput for "default" is not supported yet')
    if rotation is not None and (len(outputs) != 1 or not is_file(outputs[0])):
        raise BadLogSetting(
            "--log-outputs requires a single file path when --log-rotate-config-json is defined"
        )
    sinks = [open_sink(output, rotation) for output in outputs]
    return Logger(parsed, sinks, console=log_format == "console")


_second_text: tuple[int, str] = (-1, "")


def timestamp() -> str:
    """Now in UTC with microseconds. The part down to the second is kept, for most lines share it."""
    global _second_text
    second, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    kept, text = _second_text
    if kept != second:
        text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        _second_text = (second, text)
    return f"{text}.{nanoseconds // 1000:06d}Z"


_module_text: dict[CodeType, str] = {}


def find_caller(depth: int) -> str:
    """`room/module.py:line` of the code that called the public method `depth` frames up."""
    frame = sys._getframe(depth + 1)
    code = frame.f_code
    module = _module_text.get(code)
    if module is None:
        module = "/".join(code.co_filename.replace("\\", "/").split("/")[-2:])
        _module_text[code] = module
    return f"{module}:{frame.f_lineno}"


def stack_of(fields: dict[str, object]) -> str | None:
    """Where the exception among the fields was raised; zap adds a stack to errors, we if there is one."""
    for value in fields.values():
        if isinstance(value, BaseException) and value.__traceback__ is not None:
            return "".join(traceback.format_tb(value.__traceback__)).rstrip()
    return None


def encode_value(value: object) -> str:
    """JSON of a field. Bytes become text, durations Go's form, errors their message, the rest their `str`."""
    if isinstance(value, str):
        return encode_basestring(str(value.value) if isinstance(value, Enum) else value)
    if value is None or value is True or value is False or isinstance(value, int | float):
        return json.dumps(plain(value))
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), default=str)


def plain(value: object) -> object:
    """`value` in terms that JSON knows."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, float):
        # JSON has no infinities; zap writes them as text too.
        return value if abs(value) != float("inf") and value == value else str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "backslashreplace")
    if isinstance(value, timedelta):
        return duration_text(value.total_seconds())
    if isinstance(value, BaseException):
        return str(value) or type(value).__name__
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(plain(item)) for item in value)
    return value


def duration_text(seconds: float) -> str:
    """Seconds the way Go prints a duration: `1m0s`, `1.5s`, `20ms`, `1.25µs`, `0s`."""
    nanoseconds = round(abs(seconds) * 1_000_000_000)
    sign = "-" if seconds < 0 and nanoseconds else ""
    if nanoseconds == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanoseconds < size * 1_000:
            return f"{sign}{_decimal(nanoseconds, size)}{unit}"
    minutes, rest = divmod(nanoseconds, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_decimal(rest, 1_000_000_000)}s"
    if hours:
        text = f"{hours}h{minutes}m{text}"
    elif minutes:
        text = f"{minutes}m{text}"
    return sign + text


def _decimal(number: int, unit: int) -> str:
    whole, rest = divmod(number, unit)
    if rest == 0:
        return str(whole)
    digits = len(str(unit)) - 1
    return f"{whole}.{str(rest).rjust(digits, '0').rstrip('0')}"
