"""Every bound of the engine, by name, with its reason.

A stranger decides what arrives; these numbers decide what that may cost us. Each has a test that attacks it.
Rates are token buckets (`Bucket`): a burst that honest clients may need, and a refill per second that makes
an attack pointless. Time is always an argument.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The bounds of one connection; the defaults suit a gRPC server on a network that is not trusted."""

    # Requests.
    streams_max: int = 10_000
    """Requests open at once (SETTINGS_MAX_CONCURRENT_STREAMS); more are refused. One open stream costs about
    1 KiB."""
    header_list_bytes_max: int = 64 * 1024
    """Decoded size of one header list, counted as SETTINGS_MAX_HEADER_LIST_SIZE does. Tokens of a few KiB
    must pass."""
    header_fields_max: int = 256
    """Fields in one header list: a compressed byte can name a field, so bytes alone do not bound the work."""
    header_block_bytes_max: int = 64 * 1024
    """Compressed bytes of one header block over HEADERS and CONTINUATION; kept until END_HEADERS."""
    continuation_frames_max: int = 16
    """CONTINUATION frames of one block: five full ones carry 64 KiB, so a long row of small ones is a
    flood."""
    header_table_bytes: int = 4096
    """Memory of the decoder's dynamic table (SETTINGS_HEADER_TABLE_SIZE); RFC 7541's default."""
    encoder_table_bytes_max: int = 4096
    """Memory of our encoder's dynamic table, whatever more the peer allows."""

    # Receiving.
    frame_bytes_max: int = 16_384
    """Largest frame we accept (SETTINGS_MAX_FRAME_SIZE) and so the largest piece we keep of an unfinished
    one."""
    connection_window_bytes: int = 16 * 1024 * 1024
    """Bytes of DATA that may be on the way to us: 1.3 Gbit/s at a 100 ms round trip."""
    stream_window_bytes: int = 4 * 1024 * 1024
    """The same for one stream; also what a stream on hold (`Engine.hold`) can still make us keep."""

    # Sending.
    write_bytes: int = 256 * 1024
    """Bytes of DATA given to the transport in one `data_to_send`: big enough for few writes, small enough to
    share."""
    writable_bytes: int = 64 * 1024
    """A stream above it is choked: `on_writable` is called once it is below again."""
    queued_bytes_refuse: int = 256 * 1024 * 1024
    """DATA waiting for the peer above which new requests are refused: it asks for more than it takes."""
    queued_bytes_max: int = 1024 * 1024 * 1024
    """DATA waiting for the peer above which the connection is closed."""
    control_bytes_max: int = 1024 * 1024
    """Bytes of acknowledgements and resets that wait while the transport is paused; a peer that makes us
    answer but does not read is cut off."""
    stall_bytes_min: int = 1024 * 1024
    """Less than this waiting is nobody's harm: no stall is counted (an idle watcher may keep its window shut
    for days)."""
    stall_seconds: float = 60.0
    """How long a peer may keep `stall_bytes_min` waiting while taking less than `stall_progress_bytes`."""
    stall_progress_bytes: int = 64 * 1024
    """What counts as reading: one byte a minute does not."""

    # Time to first use, and to finish what was begun.
    preface_seconds: float = 10.0
    """From the first byte (or the accept) to the complete preface with its SETTINGS."""
    header_block_seconds: float = 10.0
    """From HEADERS to END_HEADERS: an open block stops every other stream of the connection."""
    settings_ack_seconds: float = 60.0
    """For the acknowledgement of our SETTINGS (section 6.5.3)."""
    shutdown_seconds: float = 5.0
    """Between the two GOAWAY of a graceful shutdown if the PING between them is not answered."""

    # Floods: burst and refill per second.
    peer_resets_burst: int = 1000
    peer_resets_per_second: float = 100.0
    """RST_STREAM for requests that are not answered yet (rapid reset, CVE-2023-44487). A thousand callers may
    give up in the same moment."""
    our_resets_burst: int = 200
    our_resets_per_second: float = 20.0
    """Stream errors that the peer provokes (MadeYouReset, CVE-2025-8671), refusals included. Honest clients
    make none."""
    settings_burst: int = 50
    settings_per_second: float = 1.0
    """SETTINGS frames; each costs an answer and a walk over all streams."""
    ping_burst: int = 100
    ping_per_second: float = 1.0
    """PING frames that came without an answer of ours in between; holds even where no interval is asked
    for."""
    empty_frames_burst: int = 500
    empty_frames_per_second: float = 50.0
    """Frames that carry nothing: empty DATA without END_STREAM, PRIORITY, unknown types, anything for a
    closed stream."""

    # gRPC keepalive. Zero switches a rule off.
    ping_interval_seconds: float = 5.0
    """Shortest time between two PINGs of a client with running requests; `etcd --grpc-keepalive-min-time`."""
    ping_interval_idle_seconds: float = 7200.0
    """The same without a running request; equal to the former if clients may ping without streams."""
    ping_strikes_max: int = 2
    """PINGs that may come too early before GOAWAY "too_many_pings"."""
    keepalive_seconds: float = 7200.0
    """Silence after which we ping the client; `--grpc-keepalive-interval`."""
    keepalive_timeout_seconds: float = 20.0
    """How long that PING may stay without any answer; `--grpc-keepalive-timeout`."""

    def __post_init__(self) -> None:
        assert 16_384 <= self.frame_bytes_max <= 0xFFFFFF, self.frame_bytes_max
        assert 1 <= self.stream_window_bytes <= 0x7FFFFFFF, self.stream_window_bytes
        assert 65_535 <= self.connection_window_bytes <= 0x7FFFFFFF, self.connection_window_bytes
        assert 0 <= self.streams_max <= 0xFFFFFFFF, self.streams_max


class Bucket:
    """A token bucket: `take` says whether one more event is within burst and rate."""

    __slots__ = ("_burst", "_filled_at", "_per_second", "_tokens")

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self._burst = float(burst)
        self._per_second = per_second
        self._tokens = float(burst)
        self._filled_at = now

    def take(self, now: float) -> bool:
        """Count one event at `now`; False if it is one too many."""
        tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
        if tokens < 1.0:
            self._tokens = tokens
            return False
        self._tokens = tokens - 1.0
        return True
