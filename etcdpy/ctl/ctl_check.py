"""`check perf` and `check datascale`: a load of puts, and whether the cluster bears it.

The loads, the limits and the sentences are etcdctl's; its progress bars are not made.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from etcdpy.client import rpcs
from etcdpy.client.errors import EtcdError
from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_session import at_endpoint, go_error, open_session
from etcdpy.ctl.go_text import quote
from etcdpy.ctl.output import EXIT_BAD_FEATURE, EXIT_ERROR, EXIT_INVALID_INPUT, Fault
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etcdpy.ctl.command_line import Options
    from etcdpy.ctl.ctl_session import Session

LOADS: Final = {"s": "s", "small": "s", "m": "m", "medium": "m", "l": "l", "large": "l"} | {
    "xl": "xl",
    "xLarge": "xl",
}
PERF_SECONDS: Final = 60
# Puts in a second, and how many callers put them.
RATES: Final = {"s": (150, 50), "m": (1000, 200), "l": (8000, 500), "xl": (15000, 1000)}
# Puts in all, and how many callers put them.
COUNTS: Final = {"s": (10_000, 50), "m": (100_000, 200), "l": (1_000_000, 500), "xl": (3_000_000, 1000)}
SCALE_BYTES: Final = 1024
THROUGHPUT_MIN: Final = 0.9
SLOWEST_SECONDS_MAX: Final = 0.5
DEVIATION_SECONDS_MAX: Final = 0.1
CLEAN_SECONDS: Final = 30.0
# Connections are dear; callers share them.
CONNECTIONS_MAX: Final = 16
MEMORY_METRIC: Final = "process_resident_memory_bytes"


@dataclass(slots=True)
class Tally:
    """What became of the puts; appended to by all callers."""

    seconds: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


class Load:
    """Callers that put random keys below a prefix."""

    def __init__(self, session: Session, prefix: str, clients: int, sizes: tuple[int, int]) -> None:
        self._session = session
        self._prefix = prefix.encode("utf-8", "surrogateescape")
        self._clients = clients
        self._key_bytes, value_bytes = sizes
        self._value = bytes(value_bytes)
        self._chance = random.Random()
        count = min(clients, CONNECTIONS_MAX)
        # A channel of its own for each: one channel would send all puts over one connection.
        self._connections = [at_endpoint(session, self._endpoint(number)) for number in range(count)]
        self.tally = Tally()
        self.took_s = 0.0

    def _endpoint(self, number: int) -> str:
        endpoints = self._session.settings.endpoints
        return endpoints[number % len(endpoints)]

    def check_free(self, quotes: str) -> None:
        """Raises Fault if there are keys already; `quotes` stand around the advice, as etcdctl has it."""
        end = answers.prefix_end(self._prefix)
        response = self._session.call(
            rpcs.RANGE, pb.RangeRequest(key=self._prefix, range_end=end, limit=1), timeout=PERF_SECONDS
        )
        if response.kvs:
            shown = self._prefix.decode("utf-8", "surrogateescape")
            hint = f"Delete with {quotes}etcdctl del --prefix {shown}{quotes} first"
            raise Fault(f"prefix {quote(shown)} has keys. {hint}", EXIT_INVALID_INPUT)

    def run(self, moments: Iterator[float]) -> None:
        """One put at each of these moments, in seconds from now, or as soon as a caller is free."""
        started = time.monotonic()
        with ThreadPoolExecutor(self._clients) as callers:
            for number, moment in enumerate(moments):
                wait_s = started + moment - time.monotonic()
                if wait_s > 0:
                    time.sleep(wait_s)
                callers.submit(self._put, self._connections[number % len(self._connections)])
        self.took_s = time.monotonic() - started

    def _put(self, connection: Session) -> None:
        key = self._prefix + self._chance.randbytes(8) + bytes(self._key_bytes - 8)
        started = time.monotonic()
        try:
            connection.try_call(rpcs.PUT, pb.PutRequest(key=key, value=self._value), endless=True)
        except EtcdError as error:
            self.tally.errors.append(go_error(error))
        else:
            self.tally.seconds.append(time.monotonic() - started)

    def clean(self, options: Options) -> None:
        """Remove the keys, and whatever else was asked for."""
        request = pb.DeleteRangeRequest(key=self._prefix, range_end=answers.prefix_end(self._prefix))
        response = self._session.call(rpcs.DELETE_RANGE, request, timeout=CLEAN_SECONDS)
        if options.is_set("auto-compact"):
            revision = response.header.revision
            answers.write(f"Compacting with revision {revision}\n")
            compaction = pb.CompactionRequest(revision=revision, physical=True)
            self._session.call(rpcs.COMPACT, compaction, timeout=CLEAN_SECONDS)
            answers.write(f"Compacted with revision {revision}\n")
        if options.is_set("auto-defrag"):
            for endpoint in self._session.settings.endpoints:
                answers.write(f"Defragmenting {quote(endpoint)}\n")
                defragment = pb.DefragmentRequest()
                self._session.call(rpcs.DEFRAGMENT, defragment, timeout=CLEAN_SECONDS, endpoint=endpoint)
                answers.write(f"Defragmented {quote(endpoint)}\n")

    def tell_errors(self) -> bool:
        """Whether there were any."""
        errors = self.tally.errors
        if errors:
            answers.write("FAIL: too many errors\n")
            for text in sorted(set(errors)):
                answers.write(f"FAIL: ERROR({text}) -> {errors.count(text)}\n")
        return bool(errors)


def _load(options: Options) -> str:
    name = options.text("load")
    if name not in LOADS:
        raise Fault(f"unknown load option {name}", EXIT_BAD_FEATURE)
    return LOADS[name]


def perf(arguments: Sequence[str], options: Options) -> None:
    """Put so many keys in a second for a minute, and judge how it went."""
    rate, clients = RATES[_load(options)]
    load = Load(open_session(options), options.text("prefix"), clients, (256, 1024))
    load.check_free("'")
    load.run(number / rate for number in range(rate * PERF_SECONDS))
    load.clean(options)
    good = not load.tell_errors()
    times = load.tally.seconds or [float("inf")]
    put_rate = len(load.tally.seconds) / load.took_s
    if put_rate / rate <= THROUGHPUT_MIN:
        answers.write(f"FAIL: Throughput too low: {int(put_rate) + 1} writes/s\n")
        good = False
    else:
        answers.write(f"PASS: Throughput is {int(put_rate) + 1} writes/s\n")
    slowest = max(times)
    deviation = statistics.pstdev(times) if len(times) > 1 else 0.0
    if slowest > SLOWEST_SECONDS_MAX:
        answers.write(f"Slowest request took too long: {slowest:f}s\n")
    else:
        answers.write(f"PASS: Slowest request took {slowest:f}s\n")
    if deviation > DEVIATION_SECONDS_MAX:
        answers.write(f"Stddev too high: {deviation:f}s\n")
    else:
        answers.write(f"PASS: Stddev is {deviation:f}s\n")
    good = good and slowest <= SLOWEST_SECONDS_MAX and deviation <= DEVIATION_SECONDS_MAX
    answers.write("PASS\n" if good else "FAIL\n")
    if not good:
        raise Fault("", EXIT_ERROR)


def datascale(arguments: Sequence[str], options: Options) -> None:
    """Put so many keys as fast as it goes, and tell how much memory the server takes for them."""
    count, clients = COUNTS[_load(options)]
    session = open_session(options)
    load = Load(session, options.text("prefix"), clients, (SCALE_BYTES // 2, SCALE_BYTES // 2))
    load.check_free("")
    endpoint = session.settings.endpoints[0]
    before = _memory(endpoint, "before")
    work = f"{count} key-value pairs, {SCALE_BYTES} bytes per key-value, {clients} concurrent clients"
    answers.write(f"Start data scale check for work load [{work}].\n")
    load.run(0.0 for _ in range(count))
    after = _memory(endpoint, "after")
    load.clean(options)
    if load.tell_errors():
        raise Fault("", EXIT_ERROR)
    used = (after - before) / (1 << 20)
    answers.write(f"PASS: Approximate system memory used : {used:.2f} MB.\n")


def _memory(endpoint: str, when: str) -> float:
    """Bytes that the server says it takes. Raises Fault."""
    url = (endpoint if "://" in endpoint else f"http://{endpoint}") + "/metrics"
    text = ""
    try:
        with urllib.request.urlopen(url, timeout=CLEAN_SECONDS) as response:
            text = response.read().decode()
    except OSError as error:
        answers.write(f"fetch error: {error}\n")
    for line in text.splitlines():
        if line.startswith(MEMORY_METRIC):
            return float(line.removeprefix(MEMORY_METRIC))
    if text:
        sys.stdout.write(f"could not find: {MEMORY_METRIC}\n")
    answers.write(f"FAIL: Could not read {MEMORY_METRIC} {when} the put operations.\n")
    raise Fault("", EXIT_ERROR)
