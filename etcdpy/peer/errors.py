"""What can go wrong between members."""


class PeerError(Exception):
    """Base of this room's errors."""


class MalformedStream(PeerError):
    """A peer sent bytes that are no message; the stream cannot be read on."""


class Refused(PeerError):
    """A peer answered with a refusal; `status` is the HTTP status, the text is its body."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"{status} {text}")
        self.status = status
        self.text = text
