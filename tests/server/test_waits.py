from etcdpy.proto import rpc_pb2 as pb
from etcdpy.server.errors import Stopped, Timeout
from etcdpy.server.results import Result
from etcdpy.server.waits import Wait, Waits


def wait(data: bytes, started: float, answers: list[Result]) -> Wait:
    return Wait(data, "put", pb.PutRequest(), answers.append, started)


def test_only_the_same_data_takes_a_wait_and_only_once() -> None:
    waits = Waits(timeout_s=7)
    waits.add(wait(b"a", 0, []))
    assert waits.take(b"b") is None
    assert waits.take(b"a") is not None
    assert waits.take(b"a") is None


def test_old_waits_expire_in_order_and_younger_ones_stay() -> None:
    waits, old, young = Waits(timeout_s=7), [], []  # type: ignore[var-annotated]
    waits.add(wait(b"old", 0, old))
    waits.add(wait(b"young", 5, young))
    waits.expire(6.9, lambda _: Timeout())
    assert not old
    waits.expire(7, lambda _: Timeout())
    assert isinstance(old[0].error, Timeout)
    assert not young
    assert len(waits) == 1


def test_stopping_fails_every_wait_once() -> None:
    waits, answers = Waits(timeout_s=7), []  # type: ignore[var-annotated]
    waits.add(wait(b"a", 0, answers))
    waits.fail_all(Stopped())
    waits.expire(100, lambda _: Timeout())
    assert [type(answer.error) for answer in answers] == [Stopped]
