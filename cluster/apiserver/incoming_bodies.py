"""
What is decided about a request's body before a byte of it is read: whether it may come, and that it is waited for.
"""

from aiohttp import hdrs, web

from cluster.machinery.decode import BODY_LIMIT, too_large
from cluster.machinery.status_errors import ApiError


def check_length(request: web.BaseRequest) -> None:
    """Raises RequestEntityTooLarge for a body that says itself that it is, before a byte of it is awaited."""
    if (request.content_length or 0) > BODY_LIMIT:
        raise too_large()


async def meet_expectation(request: web.BaseRequest) -> None:
    """Ask for the body of a client that waits to be asked. Raises ApiError (417) for any other expectation."""
    if request.headers[hdrs.EXPECT].lower() != "100-continue":
        raise ApiError("Expectation Failed", code=417, reason="")
    if not request.content.is_eof():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # The answer proper is still to come: what was written does not count as its beginning.
        request.writer.output_size = 0
