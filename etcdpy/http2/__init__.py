"""http2: a server's HTTP/2 engine without sockets, clocks or tasks (RFC 9113 and RFC 7541).

How a shell uses it
-------------------

One `Engine` for each connection. The shell owns the transport and the clock; the engine owns the protocol::

    engine = Engine(handler, Limits(...), now=loop.time())
    transport.write(engine.data_to_send())          # our SETTINGS

    def data_received(data):  # any cut of the byte stream, the preface included
        engine.receive_data(data, loop.time())  # calls the handler; never raises for the peer's faults
        flush()

    def flush():  # after receive_data, after tick, after answers that were given from elsewhere
        transport.write(engine.data_to_send())  # about Limits.write_bytes of DATA at most
        if engine.closed or engine.drained:
            transport.close()
        elif engine.wants_write:
            loop.call_soon(flush)  # more is queued: let others have a turn in between

    pause_writing   -> engine.pause()
    resume_writing  -> engine.resume(), flush()
    connection_lost -> engine.connection_lost()
    every second    -> engine.tick(loop.time()), flush()

What the handler hears
----------------------

See `Handler`: ``on_headers(stream_id, RequestHeaders, end_stream)``, ``on_data(stream_id, bytes,
end_stream)``, ``on_trailers(stream_id, pairs)`` (ends the request), ``on_reset(stream_id, code)`` (the stream
is gone: the peer reset it, or broke a rule on it, or the connection is over), ``on_writable(stream_id)``. A
handler may call every sending method from within a callback and must not raise.

`RequestHeaders` has ``method scheme authority path fields content_length get(name)`` and ``memo``, a place
for whatever the layer above derives from them: identical requests of a client share one `RequestHeaders`
object.

What the layer above calls
--------------------------

- ``prepare_headers(pairs) -> PreparedHeaders``: encode once, use for every stream of every connection.
- ``engine.send_response(id, prepared, [bytes, ...], prepared)``: headers, one message, trailers; the fast
  path.
- ``engine.send_headers(id, prepared or pairs, end_stream=False)``: with end_stream also trailers, which wait
  for the data queued before them.
- ``engine.send_data(id, bytes or [bytes, ...], end_stream=False)``: pieces are kept, not copied.
- ``engine.reset_stream(id, code)``: give a stream up; no ``on_reset`` follows.
- ``engine.pending_bytes(id)``, ``engine.queued_bytes``, ``engine.is_open(id)``: what waits for windows or
  writes.
- ``engine.hold(id)``, ``engine.release(id)``: stop and restart the peer's sending on one stream.
- ``engine.shutdown(now)``, then ``engine.drained``: the graceful end. ``engine.close(code, reason)``: at
  once.
- ``engine.closed``, ``engine.fault``, ``engine.open_streams``: the state of the connection.

Sending methods return False if the stream is gone. An answer that ends before its request resets the request
with NO_ERROR. Received windows are given back before the handler is called; one that cannot keep up uses
``hold``. A stream with more than ``Limits.writable_bytes`` queued is choked; ``on_writable`` tells when it is
not any more.

Inside: `frames` (layout), `huffman` and `hpack` (compression), `headers` (validity), `streams` (state table),
`keepalive` (PING), `limits` (every bound), `sending` and `engine` (the two halves).
"""

from etcdpy.http2.engine import Engine, Handler
from etcdpy.http2.errors import ConnectionFault, ErrorCode, StreamFault
from etcdpy.http2.frames import PREFACE
from etcdpy.http2.headers import HeaderList, PreparedHeaders, RequestHeaders
from etcdpy.http2.hpack import prepare_headers
from etcdpy.http2.limits import Limits

__all__ = [
    "Engine",
    "Handler",
    "Limits",
    "RequestHeaders",
    "PreparedHeaders",
    "HeaderList",
    "prepare_headers",
    "ErrorCode",
    "ConnectionFault",
    "StreamFault",
    "PREFACE",
]
