from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.quota import QUOTA_BYTES_DEFAULT, Quota, request_cost


def test_costs_are_etcds() -> None:
    put = pb.PutRequest(key=b"k" * 10, value=b"v" * 20)
    assert request_cost(put) == 286
    assert request_cost(pb.LeaseGrantRequest(TTL=1)) == 64
    txn = pb.TxnRequest()
    txn.success.add().request_put.CopyFrom(put)
    txn.failure.add().request_put.CopyFrom(put)
    txn.failure.add().request_txn.success.add().request_put.CopyFrom(put)
    assert request_cost(txn) == 2 * 286
    reads = pb.TxnRequest()
    reads.success.add().request_range.key = b"k"
    assert request_cost(reads) == 0


def test_what_would_reach_the_limit_is_refused_and_reads_never_are() -> None:
    quota = Quota(1000, lambda: 700)
    assert quota.available(pb.PutRequest(key=b"k", value=b"v" * 42))
    assert not quota.available(pb.PutRequest(key=b"k", value=b"v" * 43))
    full = Quota(1000, lambda: 5000)
    assert full.available(pb.TxnRequest())
    assert not full.available(pb.LeaseGrantRequest())


def test_zero_is_the_default_and_negative_is_none() -> None:
    assert Quota(0, lambda: 0).limit_bytes == QUOTA_BYTES_DEFAULT
    assert Quota(-1, lambda: 10**15).available(pb.PutRequest(key=b"k"))


def test_the_size_is_looked_up_again_on_refresh() -> None:
    sizes = [0]
    quota = Quota(1000, lambda: sizes[0])
    sizes[0] = 5000
    assert quota.available(pb.PutRequest(key=b"k"))
    quota.refresh()
    assert not quota.available(pb.PutRequest(key=b"k"))


def test_nobody_is_refused_for_a_size_of_before_the_defragmentation() -> None:
    sizes = [5000]
    quota = Quota(1000, lambda: sizes[0])
    sizes[0] = 100
    assert quota.available(pb.PutRequest(key=b"k"))
