"""What aiohttp has to complain of, in our log.

It writes to Python's logging, with a traceback for every request that it cannot parse. Strangers write those
requests, so they must not write our log; a fault in one of our handlers must stand there.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aiohttp.http import HttpProcessingError

if TYPE_CHECKING:
    from etcdpy.server.log import Logger


class _Bridge(logging.Handler):
    """Passes records on."""

    def __init__(self, log: Logger) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        text = repr(error) if error is not None else record.getMessage()
        is_ours = record.levelno >= logging.ERROR and not isinstance(
            error, HttpProcessingError | ConnectionError
        )
        if is_ours:
            self._log.error("failed to answer an HTTP request", error=text)
        else:
            self._log.debug("HTTP request was not answered", error=text)


def make_logger(log: Logger) -> logging.Logger:
    """A logger for one aiohttp server; it is not registered, so nobody else's settings reach it."""
    logger = logging.Logger("aiohttp.client-port", logging.INFO)
    logger.addHandler(_Bridge(log))
    return logger
