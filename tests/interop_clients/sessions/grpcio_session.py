"""What a program does with bare grpcio: every kind of call, metadata, deadlines, large messages."""

import json
import sys
import threading
import time
from pathlib import Path

import grpc

from etcdpy.proto import rpc_pb2 as pb

MIB = 1024 * 1024


def connect(where, **options):
    settings = [("grpc.max_receive_message_length", -1), *options.items()]
    address = f"{where['host']}:{where['port']}"
    if "ca" not in where:
        return grpc.insecure_channel(address, settings)
    ca, cert, key = (Path(where[name]).read_bytes() for name in ("ca", "cert", "key"))
    return grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), settings)


def unary(channel, path, request, response_type, **options):
    call = channel.unary_unary(
        f"/etcdserverpb.{path}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=response_type.FromString,
    )
    return call(request, **options)


def put(channel, key, value, **options):
    return unary(channel, "KV/Put", pb.PutRequest(key=key, value=value), pb.PutResponse, **options)


def get(channel, key, **options):
    return unary(channel, "KV/Range", pb.RangeRequest(key=key), pb.RangeResponse, **options)


def status_of(action):
    try:
        action()
    except grpc.RpcError as error:
        return error.code(), error.details()
    raise AssertionError("was answered")


def stream(channel, path, requests, request_type, response_type):
    return channel.stream_stream(
        f"/etcdserverpb.{path}",
        request_serializer=request_type.SerializeToString,
        response_deserializer=response_type.FromString,
    )(requests)


def keys_and_values(channel):
    put(channel, b"k", b"v")
    assert get(channel, b"k").kvs[0].value == b"v"
    txn = pb.TxnRequest(
        compare=[pb.Compare(key=b"k", target=pb.Compare.VALUE, value=b"v")],
        success=[pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=b"k"))],
    )
    assert unary(channel, "KV/Txn", txn, pb.TxnResponse).succeeded
    assert not get(channel, b"k").kvs


def errors(channel):
    assert status_of(lambda: put(channel, b"", b"")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "etcdserver: key is not provided",
    )
    unknown = channel.unary_unary("/etcdserverpb.KV/Nope")
    assert status_of(lambda: unknown(b"")) == (
        grpc.StatusCode.UNIMPLEMENTED,
        "unknown method Nope for service etcdserverpb.KV",
    )


def metadata(channel):
    get(channel, b"k", metadata=(("x-text", "some"), ("x-text", "more"), ("x-bin", b"\0\xff")))


def deadlines(channel):
    get(channel, b"k", timeout=30)
    snapshot = channel.stream_stream("/etcdserverpb.Watch/Watch")
    never = threading.Event()

    def silence():
        never.wait(20)
        yield b""

    call = snapshot(silence(), timeout=0.3)
    began = time.monotonic()
    code, _ = status_of(lambda: next(call))
    assert code is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 5
    never.set()


def compression(channel):
    put(channel, b"z", b"z" * 100_000, compression=grpc.Compression.Gzip)
    assert get(channel, b"z", compression=grpc.Compression.Gzip).kvs[0].value == b"z" * 100_000
    code, details = status_of(lambda: put(channel, b"z", b"z" * 3 * MIB, compression=grpc.Compression.Gzip))
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED, (code, details)
    code, details = status_of(lambda: put(channel, b"z", b"z", compression=grpc.Compression.Deflate))
    assert code is grpc.StatusCode.UNIMPLEMENTED, (code, details)


def large_messages(channel):
    for number in range(40):
        put(channel, b"large/%02d" % number, bytes((number,)) * MIB)
    request = pb.RangeRequest(key=b"large/", range_end=b"large0")
    answer = unary(channel, "KV/Range", request, pb.RangeResponse)
    assert [kv.value[:1] for kv in answer.kvs] == [bytes((number,)) for number in range(40)]
    code, details = status_of(lambda: put(channel, b"l", bytes(3 * MIB)))
    assert (code, details) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        f"grpc: received message larger than max ({3 * MIB + 8} vs. {1_572_864 + 512 * 1024})",
    )
    code, details = status_of(lambda: put(channel, b"l", bytes(1_572_864)))
    assert details == "etcdserver: request is too large"


def watching(channel):
    requests = iter([pb.WatchRequest(create_request=pb.WatchCreateRequest(key=b"w"))])
    more = threading.Event()

    def ask():
        yield next(requests)
        more.wait(30)

    call = stream(channel, "Watch/Watch", ask(), pb.WatchRequest, pb.WatchResponse)
    assert next(call).created
    for number in range(100):
        put(channel, b"w", b"%d" % number)
    values = []
    while len(values) < 100:
        values += [event.kv.value for event in next(call).events]
    assert values == [b"%d" % number for number in range(100)]
    call.cancel()
    more.set()
    assert status_of(lambda: next(call))[0] is grpc.StatusCode.CANCELLED


def leases(channel):
    lease = unary(channel, "Lease/LeaseGrant", pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse).ID
    requests = [pb.LeaseKeepAliveRequest(ID=lease)] * 10
    call = stream(
        channel, "Lease/LeaseKeepAlive", iter(requests), pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse
    )
    assert [answer.TTL for answer in call] == [60] * 10
    assert call.code() is grpc.StatusCode.OK
    unary(channel, "Lease/LeaseRevoke", pb.LeaseRevokeRequest(ID=lease), pb.LeaseRevokeResponse)


def many_at_once(channel):
    futures = [
        channel.unary_unary("/etcdserverpb.KV/Range").future(pb.RangeRequest(key=b"z").SerializeToString())
        for _ in range(500)
    ]
    assert all(len(future.result()) > 100_000 for future in futures)


STEPS = (
    keys_and_values,
    errors,
    metadata,
    deadlines,
    compression,
    large_messages,
    watching,
    leases,
    many_at_once,
)


def main():
    where = json.loads(sys.argv[1])
    with connect(where) as channel:
        for step in STEPS:
            step(channel)
            sys.stdout.write(f"done: {step.__name__}\n")
    with connect(
        where, **{"grpc.keepalive_time_ms": 10_000, "grpc.http2.max_frame_size": 1 << 20}
    ) as channel:
        get(channel, b"k")
        sys.stdout.write("done: other channel options\n")


main()
