"""What the engine recalls instead of decoding says the same as what it decodes: requests that differ by one
field only, as gRPC's do by their timeout, in whole reads and cut into single bytes.
"""

import random

import pytest

from etcdpy.http2.frames import encode_frame
from etcdpy.http2.hpack import Encoder
from tests.http2.wire import GREETING, Client

Fields = list[tuple[str, str]]

FIRST = [
    (":method", "POST"),
    (":scheme", "http"),
    (":path", "/etcdserverpb.KV/Put"),
    (":authority", "127.0.0.1:2379"),
    ("content-type", "application/grpc"),
    ("user-agent", "grpc-go/1.26.0"),
    ("te", "trailers"),
]


def traffic(count: int) -> list[Fields]:
    """Header lists as clients send them, the rare ones among the usual ones."""
    chance = random.Random(7)
    lists = []
    for _ in range(count):
        path = chance.choice(["/etcdserverpb.KV/Put", "/etcdserverpb.KV/Range"])
        fields = [(name, path if name == ":path" else value) for name, value in FIRST]
        kind = chance.randrange(20)
        if kind > 0:
            fields.append(("grpc-timeout", f"{59_999_990 - int(chance.expovariate(1 / 100))}u"))
        if kind > 10:
            fields.append(("client-api-version", "3.5.1"))
        if kind == 1:
            fields.append(("grpc-timeout", "1S"))
        if kind == 2:
            fields.insert(7, ("x-first", str(chance.randrange(3))))
        if kind == 3:
            fields.append(("authorization", f"token.{chance.randrange(5)}"))
        lists.append(fields)
    return lists


@pytest.mark.parametrize("cut", [1, 7, 1 << 20])
@pytest.mark.parametrize("table_bytes", [4096, 1000, 450, 200])
def test_recalled_requests_are_the_requests_that_were_sent(cut: int, table_bytes: int) -> None:
    lists = traffic(1_500)
    encoder, sent = Encoder(), bytearray()
    encoder.limit_table(table_bytes)
    for number, fields in enumerate(lists):
        stream_id = 2 * number + 1
        sent += encode_frame(1, 4, stream_id, encoder.encode(fields))
        sent += encode_frame(0, 1, stream_id, b"body %d" % number)
    client = Client(answer=True, greet=False)
    client.send(GREETING)
    for start in range(0, len(sent), cut):
        client.send(bytes(sent[start : start + cut]))
    assert client.engine.fault is None
    for number, fields in enumerate(lists):
        headers = client.headers[2 * number + 1]
        pseudo = [headers.method, headers.scheme, headers.path, headers.authority]
        assert pseudo == [value for _, value in fields[:4]]
        assert list(headers.fields) == fields[4:], number
    if table_bytes == 4096:
        recalled = sum(headers.base is not None for headers in client.headers.values())
        assert recalled > 0.6 * len(lists)
    bodies = [event for event in client.events if event[0] == "data"]
    assert bodies == [("data", 2 * number + 1, b"body %d" % number, True) for number in range(len(lists))]


def block(*octets: int | bytes) -> bytes:
    return b"".join(one if isinstance(one, bytes) else bytes((one,)) for one in octets)


def test_a_recalled_list_is_refused_where_a_decoded_one_would_be() -> None:
    """A value with a line end, in the place where a timeout stood before."""
    encoder = Encoder()
    client = Client(answer=True)
    usual = [*FIRST, ("grpc-timeout", "1S")]
    for stream_id, timeout in ((1, "1S"), (3, "2S"), (5, "3S")):
        client.send(
            encode_frame(1, 4, stream_id, encoder.encode([*usual[:-1], ("grpc-timeout", timeout)])),
            encode_frame(0, 1, stream_id, b""),
        )
    # Indexes of the seven fields behind three timeouts, then a literal under the name of the newest one.
    head = [0x83, 0x86, *range(0xC5, 0xC0, -1)]
    client.send(encode_frame(1, 4, 7, block(*head, 0x7E, 3, b"1\nS")), encode_frame(0, 1, 7, b""))
    client.send(
        encode_frame(1, 4, 9, block(0x83, 0x86, *range(0xC6, 0xC1, -1), 0x7E, 2, b"4S")),
        encode_frame(0, 1, 9, b""),
    )
    opened = [event[1] for event in client.events if event[0] == "headers"]
    assert opened == [1, 3, 5, 9]
    assert client.headers[9].get("grpc-timeout") == "4S"


def test_an_index_beyond_the_table_ends_the_connection_also_beside_a_known_list() -> None:
    encoder = Encoder()
    client = Client(answer=True)
    for stream_id in (1, 3, 5):
        fields = [*FIRST, ("grpc-timeout", f"{stream_id}S")]
        client.send(encode_frame(1, 4, stream_id, encoder.encode(fields)), encode_frame(0, 1, stream_id, b""))
    head = [0x83, 0x86, *range(0xC5, 0xC0, -1)]
    client.send(encode_frame(1, 4, 7, block(*head, 0xFF, 0x41, 2, b"9S")), encode_frame(0, 1, 7, b""))
    assert client.engine.fault is not None
