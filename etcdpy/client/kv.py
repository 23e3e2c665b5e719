"""Keys: reading, writing, transactions, and reading many keys piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from etcdpy.client import op, rpcs
from etcdpy.client.base import Calls, operation
from etcdpy.client.errors import EtcdError
from etcdpy.client.keys import KeyRange, Keys, bounds
from etcdpy.client.sides import both_iterate
from etcdpy.client.values import KeyValue, key_value
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PAGE_KEYS = 1000


class KeyCalls(Calls):
    """The calls of etcd's KV service."""

    get = operation(op.get)
    put = operation(op.put)
    delete = operation(op.delete)
    txn = operation(op.txn)
    compact = operation(op.compact)

    @both_iterate
    async def pages(
        self,
        keys: Keys,
        *,
        page_size: int = PAGE_KEYS,
        revision: int = 0,
        serializable: bool = False,
        keys_only: bool = False,
    ) -> AsyncIterator[KeyValue]:
        """Iterate over the keys of a range, by name, as they all were at one revision.

        They are fetched `page_size` at a time; each fetch is a call of its own, which moves to another
        endpoint by itself, so that a reader of millions of keys outlives a member.

        Raises:
            CompactedError: the revision was forgotten on the way.
        """
        async for kv in self._pages(
            keys, page_size=page_size, revision=revision, serializable=serializable, keys_only=keys_only
        ):
            yield kv

    @both_iterate
    async def stream(
        self, keys: Keys, *, revision: int = 0, serializable: bool = False, keys_only: bool = False
    ) -> AsyncIterator[KeyValue]:
        """Iterate over the keys of a range, by name, as one streamed answer, at one revision.

        That is a call of etcd 3.7 and of etcdpy; where the server does not know it, this is `pages`.
        """
        key, range_end = bounds(keys)
        request = pb.RangeRequest(
            key=key, range_end=range_end, revision=revision, serializable=serializable, keys_only=keys_only
        )
        try:
            async for response in self._receive(rpcs.RANGE_STREAM, request):
                for message in response.range_response.kvs:
                    yield key_value(message)
        except EtcdError as error:
            if error.code is not grpc.StatusCode.UNIMPLEMENTED:
                raise
            pages = self._pages(
                keys,
                page_size=PAGE_KEYS,
                revision=revision,
                serializable=serializable,
                keys_only=keys_only,
            )
            async for kv in pages:
                yield kv

    async def _pages(
        self, keys: Keys, *, page_size: int, revision: int, serializable: bool, keys_only: bool
    ) -> AsyncIterator[KeyValue]:
        start, end = bounds(keys)
        while True:
            page = await self._run(
                op.get(
                    KeyRange(start, end) if end else start,
                    limit=page_size,
                    revision=revision,
                    sort_by="key",
                    serializable=serializable,
                    keys_only=keys_only,
                )
            )
            for kv in page.kvs:
                yield kv
            if not page.more:
                return
            revision = revision or page.header.revision
            start = page.kvs[-1].key + b"\0"
