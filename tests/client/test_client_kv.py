"""Keys and transactions through the client."""

from __future__ import annotations

import pytest

from etcdpy.client import (
    Client,
    CompactedError,
    FutureRevision,
    InvalidArgument,
    KeyRange,
    LeaseNotFound,
    between,
    compare,
    from_key,
    op,
    prefix,
)


def keys_of(kvs: object) -> list[bytes]:
    return [kv.key for kv in kvs]  # type: ignore[attr-defined]


def test_put_get_delete(client: Client) -> None:
    first = client.put("key", "one")
    assert first.prev_kv is None
    second = client.put(b"key", b"two", prev_kv=True)
    assert second.header.revision == first.header.revision + 1
    assert second.prev_kv is not None
    assert second.prev_kv.value == b"one"
    answer = client.get("key")
    assert (answer.value, answer.count, answer.more) == (b"two", 1, False)
    assert answer.kv is not None
    assert (answer.kv.version, answer.kv.lease) == (2, 0)
    assert answer.kv.create_revision == first.header.revision
    gone = client.delete("key", prev_kv=True)
    assert (gone.deleted, keys_of(gone.prev_kvs)) == (1, [b"key"])
    assert client.get("key").kv is None
    assert client.get("key", revision=first.header.revision).value == b"one"


def test_put_keeps_value_or_lease(client: Client) -> None:
    client.put("key", "value")
    client.put("key", None)
    kv = client.get("key").kv
    assert kv is not None
    assert (kv.value, kv.version) == (b"value", 2)
    client.put("key", "other", lease=None)
    with pytest.raises(InvalidArgument):
        client.put("absent", None)
    with pytest.raises(LeaseNotFound):
        client.put("key", "value", lease=12345)


def test_ranges(client: Client) -> None:
    for key in ("a", "a/1", "a/2", "b"):
        client.put(key, key)
    assert keys_of(client.get(prefix("a/"))) == [b"a/1", b"a/2"]
    assert keys_of(client.get(between("a", "a/2"))) == [b"a", b"a/1"]
    assert keys_of(client.get(from_key("a/2"))) == [b"a/2", b"b"]
    assert len(client.get(prefix(""))) == 4
    assert client.get(prefix("a"), count_only=True).count == 3
    limited = client.get(prefix(""), limit=2, sort_by="key", descending=True, keys_only=True)
    assert keys_of(limited) == [b"b", b"a/2"]
    assert (limited.more, limited.count, limited.value) == (True, 4, b"")
    newest = client.put("a/1", "again").header.revision
    assert keys_of(client.get(prefix(""), min_mod_revision=newest)) == [b"a/1"]
    assert keys_of(client.get(prefix(""), sort_by="mod"))[-1] == b"a/1"
    assert client.delete(prefix("a")).deleted == 3


def test_prefix_that_has_no_successor() -> None:
    assert prefix(b"\xff\xff") == KeyRange(b"\xff\xff", b"\0")
    assert prefix(b"a\xff") == KeyRange(b"a\xff", b"b")
    assert prefix("") == from_key("") == KeyRange(b"\0", b"\0")


def test_revisions_that_are_not_there(client: Client) -> None:
    revision = client.put("key", "1").header.revision
    client.put("key", "2")
    with pytest.raises(FutureRevision):
        client.get("key", revision=revision + 100)
    client.compact(revision + 1, physical=True)
    with pytest.raises(CompactedError):
        client.get("key", revision=revision)
    with pytest.raises(CompactedError):
        client.compact(revision)


def test_transaction(client: Client) -> None:
    done = client.txn(
        when=[compare.missing("key"), compare.version("key", "<", 1)],
        then=[op.put("key", "1"), op.get("key")],
        otherwise=op.get("key"),
    )
    assert done.succeeded
    assert done.results[1].value == b"1"  # type: ignore[union-attr]
    done = client.txn(compare.value("key", "!=", "1"), (), op.delete("key", prev_kv=True))
    assert not done.succeeded
    assert done.results[0].deleted == 1  # type: ignore[union-attr]


def test_nested_transaction(client: Client) -> None:
    client.put("key", "1")
    inner = op.txn(compare.exists("other"), op.put("key", "2"), [op.put("other", "3"), op.get(prefix(""))])
    done = client.txn(compare.mod_revision(prefix("k"), ">", 0), inner)
    nested = done.results[0]
    assert not nested.succeeded  # type: ignore[union-attr]
    assert keys_of(nested.results[1]) == [b"key", b"other"]  # type: ignore[union-attr]


def test_only_reading_transactions_are_repeatable() -> None:
    reading = op.txn((), op.get("a"), op.txn((), op.get("b")))
    assert not reading.writes
    assert op.txn((), (), op.txn((), (), op.delete("b"))).writes
    assert repr(compare.value("k", "==", "v")) == "Compare(value of b'k' == b'v')"


@pytest.mark.parametrize("way", ["pages", "stream"])
def test_many_keys_piece_by_piece(client: Client, way: str) -> None:
    for first in range(0, 300, 100):
        client.txn((), [op.put(f"n/{number:04}", "x") for number in range(first, first + 100)])
    client.put("o", "")
    expected = [b"n/%04d" % number for number in range(300)]
    if way == "stream":
        assert keys_of(client.stream(prefix("n/"))) == expected
        return
    assert keys_of(client.pages(prefix("n/"), page_size=70)) == expected
    # All pages show the revision of the first, whatever happens meanwhile.
    pages = client.pages(prefix("n/"), page_size=100, keys_only=True)
    seen = [next(pages)]
    client.delete(prefix("n/"))
    seen.extend(pages)
    assert keys_of(seen) == expected


def test_views_have_their_own_time_and_endpoint(client: Client) -> None:
    assert client.within(None).get("key").count == 0
    assert client.at(client.endpoints[0]).status().version
    assert client.run(op.get("key")).kv is None
