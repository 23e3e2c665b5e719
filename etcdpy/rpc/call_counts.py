"""What happens to calls, counted where it happens and told as go-grpc-prometheus tells it.

The counters of a call belong to its method and to the version that its client says it has; they hang on the
route that the header block was read into once, so that counting is a handful of additions. What can be
derived is not counted: a unary call has one request, and one answer when it ends well. Messages of streams
are counted by the batch, as the pieces (a prefix and at least one part) that the batch consists of.

A call counts as started when it has passed the checks that every call passes; what is refused before is not
counted at all, as in etcd.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from etcdpy.metrics import Family, Histogram, labels
from etcdpy.rpc.errors import Code

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from etcdpy.rpc.router import Method

PREFIX_BYTES = 5
# Client libraries have some dozens of versions; strangers may name any number.
VERSIONS_MAX = 64
UNKNOWN_VERSION = "unknown"
OTHER_VERSION = "other"

# The default buckets of the Go client library.
HANDLING_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

_GO_NAMES = {code: "".join(word.capitalize() for word in code.name.split("_")) for code in Code} | {
    Code.OK: "OK"
}
# These appear once somebody has called them; all others are there from the start.
_ON_DEMAND = ("v3lockpb.", "v3electionpb.")

_STARTED = "Total number of RPCs started on the server."
_HANDLED = "Total number of RPCs completed on the server, regardless of success or failure."
_RECEIVED = "Total number of RPC stream messages received on the server."
_SENT = "Total number of gRPC stream messages sent by the server."
_HANDLING = (
    "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server."
)
_CLIENT_REQUESTS = "The total number of client requests per client version."
_CLIENT_RECEIVED = "The total number of bytes received from grpc clients."
_CLIENT_SENT = "The total number of bytes sent to grpc clients."


@dataclass(frozen=True, slots=True)
class SlowCalls:
    """Whom to tell, with the time they took, of calls of one method that took longer than they should."""

    threshold_s: float
    warn: Callable[[float], None]


class CallCounts:
    """Counters of the calls of one method by clients of one version. Transports and router add to them."""

    __slots__ = (
        "batch_bytes",
        "batch_pieces",
        "extra_pieces",
        "failed",
        "handling",
        "received",
        "received_bytes",
        "replied",
        "reply_bytes",
        "slow",
        "started",
    )

    def __init__(self, slow: SlowCalls | None = None) -> None:
        self.slow = slow
        self.started = 0
        self.replied = 0
        """Calls that ended well."""
        self.reply_bytes = 0
        self.failed = [0] * len(Code)
        self.received = 0
        """Messages of streams that the client sends."""
        self.received_bytes = 0
        self.batch_pieces = 0
        self.batch_bytes = 0
        self.extra_pieces = 0
        self.handling: Histogram | None = None

    def ended(self, seconds: float) -> None:
        """A call has ended after this time; the histogram is told only under `--metrics=extensive`."""
        if self.slow is not None and seconds > self.slow.threshold_s:
            self.slow.warn(seconds)
        if self.handling is None:
            self.handling = Histogram(HANDLING_BOUNDS)
        self.handling.observe(seconds)

    def sent(self, size: int) -> None:
        """One message of a stream has been sent."""
        self.batch_pieces += 2
        self.batch_bytes += size + PREFIX_BYTES

    @property
    def messages_sent(self) -> int:
        """Messages of streams."""
        return (self.batch_pieces - self.extra_pieces) // 2

    @property
    def sent_bytes(self) -> int:
        """Bytes of all answers, without their prefixes."""
        return self.reply_bytes + self.batch_bytes - PREFIX_BYTES * self.messages_sent

    def add(self, other: CallCounts) -> None:
        """Add the counters of other clients."""
        self.started += other.started
        self.replied += other.replied
        self.reply_bytes += other.reply_bytes
        self.failed = [mine + theirs for mine, theirs in zip(self.failed, other.failed, strict=True)]
        self.received += other.received
        self.received_bytes += other.received_bytes
        self.batch_pieces += other.batch_pieces
        self.batch_bytes += other.batch_bytes
        self.extra_pieces += other.extra_pieces
        if other.handling is not None:
            mine = self.handling or Histogram(HANDLING_BOUNDS)
            pairs = zip(mine.counts, other.handling.counts, strict=True)
            mine.counts = [before + more for before, more in pairs]
            mine.sum += other.handling.sum
            self.handling = mine


# Of calls that have not started: somewhere to add to, which nobody reads.
UNCOUNTED = CallCounts()


class CallLedger:
    """The counters of one port."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._by_method: dict[str, dict[str, CallCounts]] = {method.path: {} for method in methods}
        self._methods = {method.path: method for method in methods}
        self._versions: set[str] = set()
        self._slow: dict[str, SlowCalls] = {}

    def warn_of_slow_calls(self, threshold_s: float, warn: Callable[[str, float], None]) -> None:
        """From now on tell of unary calls that take longer, by path and time, if calls are timed."""
        for path, method in self._methods.items():
            if method.kind.has_one_answer:
                self._slow[path] = SlowCalls(threshold_s, partial(warn, path))

    def counts(self, method: Method | None, version: str | None) -> CallCounts:
        """Where calls of this method by clients of this version are counted."""
        if method is None:
            return UNCOUNTED
        version = version or UNKNOWN_VERSION
        if version not in self._versions:
            if len(self._versions) >= VERSIONS_MAX:
                version = OTHER_VERSION
            self._versions.add(version)
        by_version = self._by_method[method.path]
        found = by_version.get(version)
        if found is None:
            found = by_version[version] = CallCounts(self._slow.get(method.path))
        return found

    def families(self, *, extensive: bool) -> Iterator[Family]:
        """What Prometheus gets to see; `extensive` adds the times."""
        totals = {path: _total(counts.values()) for path, counts in self._by_method.items()}
        yield from self._client_families(totals)
        started = Family("grpc_server_started_total", "counter", _STARTED)
        handled = Family("grpc_server_handled_total", "counter", _HANDLED)
        received = Family("grpc_server_msg_received_total", "counter", _RECEIVED)
        sent = Family("grpc_server_msg_sent_total", "counter", _SENT)
        handling = Family("grpc_server_handling_seconds", "histogram", _HANDLING)
        for path, total in totals.items():
            method = self._methods[path]
            service, _, name = path[1:].rpartition("/")
            if service.startswith(_ON_DEMAND) and not total.started:
                continue
            is_unary = method.kind.has_one_answer
            labelled = labels(grpc_method=name, grpc_service=service, grpc_type=method.kind.label)
            started.add(total.started, labelled)
            received.add(total.started if method.kind.has_one_request else total.received, labelled)
            sent.add(total.replied if is_unary else total.messages_sent, labelled)
            for code, go_name in _GO_NAMES.items():
                count = total.replied if code is Code.OK else total.failed[code]
                handled.add(count, f'grpc_code="{go_name}",{labelled}')
            if extensive:
                handling.add_histogram(total.handling or Histogram(HANDLING_BOUNDS), labelled)
        yield from (started, handled, received, sent, handling)

    def _client_families(self, totals: dict[str, CallCounts]) -> Iterator[Family]:
        requests: dict[tuple[str, str], int] = {}
        for path, by_version in self._by_method.items():
            kind = "unary" if self._methods[path].kind.has_one_answer else "stream"
            for version, counts in by_version.items():
                requests[kind, version] = requests.get((kind, version), 0) + counts.started
        family = Family("etcd_server_client_requests_total", "counter", _CLIENT_REQUESTS)
        for (kind, version), count in sorted(requests.items()):
            if count:
                family.add(count, labels(client_api_version=version, type=kind))
        yield family
        received = sum(total.received_bytes for total in totals.values())
        sent = sum(total.sent_bytes for total in totals.values())
        prefix = "etcd_network_client_grpc_"
        yield Family.single(prefix + "received_bytes_total", "counter", _CLIENT_RECEIVED, received)
        yield Family.single(prefix + "sent_bytes_total", "counter", _CLIENT_SENT, sent)


def _total(parts: Iterable[CallCounts]) -> CallCounts:
    total = CallCounts()
    for part in parts:
        total.add(part)
    return total
