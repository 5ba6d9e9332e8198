"""How a call fails: gRPC's status codes, and whether the other side may have acted on it."""

# Source: grpc, doc/statuscodes.md; the position is the number on the wire.
CODES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


class GrpcError(Exception):
    """A call without an answer. `code` is gRPC's name, `details` the text that came with it or ours."""

    def __init__(self, code: str, details: str, *, processed: bool = True) -> None:
        super().__init__(f"{code}: {details}")
        self.code = code
        self.details = details
        self.processed = processed
        """False when the other side surely did not act on the call: it was never sent whole, or was refused unread."""


class ProtocolError(Exception):
    """The other side broke HTTP/2; the connection ends with `error_code` (RFC 9113 section 7)."""

    def __init__(self, error_code: int, why: str) -> None:
        super().__init__(why)
        self.error_code = error_code
