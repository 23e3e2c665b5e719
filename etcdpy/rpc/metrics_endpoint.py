"""`/metrics`: everything that is counted, in one text."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from aiohttp import web

from etcdpy.metrics import CONTENT_TYPE, Family, exposition, labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Source = Callable[[], Iterable[Family]]

# The default level takes four times as long for a tenth less.
GZIP_LEVEL = 1


class MetricsEndpoint:
    """Collects from its sources when it is asked."""

    def __init__(self, sources: Iterable[Source]) -> None:
        self._sources = tuple(sources)
        self._served = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any method, as in Go."""
        text = exposition(self._collect()).encode()
        self._served += 1
        headers = {"Content-Type": CONTENT_TYPE}
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            text = gzip.compress(text, GZIP_LEVEL)
            headers["Content-Encoding"] = "gzip"
        return web.Response(body=text, headers=headers)

    def _collect(self) -> Iterator[Family]:
        for source in self._sources:
            yield from source()
        name = "promhttp_metric_handler_requests_"
        yield Family.single(name + "in_flight", "gauge", "Current number of scrapes being served.", 1)
        total = Family(name + "total", "counter", "Total number of scrapes by HTTP status code.")
        for code, count in (("200", self._served), ("500", 0), ("503", 0)):
            total.add(count, labels(code=code))
        yield total
