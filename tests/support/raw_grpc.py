"""One gRPC call by hand: with metadata that no library sends, and a deadline that only the server keeps."""

from __future__ import annotations

import asyncio

from tests.rpc.listening import GrpcPeer
from tests.support.client import Refusal

CODES = (
    *("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE"),
    *("UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"),
)
SECONDS_MAX = 20.0


def raw_call(endpoint: str, path: str, message: bytes = b"", *fields: tuple[str, str]) -> Refusal:
    """The status that the server sends; `OK` is one too."""

    async def ask() -> Refusal:
        peer = await GrpcPeer.connect(f"http://{endpoint}")
        try:
            peer.greet()
            code, text = (await peer.call(path, message, *fields)).status
        finally:
            peer.abort()
        return Refusal(CODES[code], text)

    return asyncio.run(asyncio.wait_for(ask(), SECONDS_MAX))
