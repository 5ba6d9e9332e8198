"""What is written at the door: heads of answers, and long bodies in portions."""

import time
from collections.abc import Iterable

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE

PORTION = 256 << 10
"""Bytes written at a time; smaller answers are written in one piece."""


class ResponseHead:
    """The head of every answer given here; the same fields, in the same order, as the handler's."""

    def __init__(self) -> None:
        self._second = 0
        self._tail = b""

    def of(self, length: int, more: bytes) -> bytes:
        """Of a read that went well. `more` are whole header lines."""
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nCache-Control: no-cache, private\r\n"
            b"%bContent-Length: %d%b\r\n" % (more, length, self._now())
        )

    def of_response(self, response: web.Response, length: int, *, last: bool) -> bytes:
        """Of an answer that the handler could have given; with `last` the client shall not come back here."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in response.headers.items()]).encode()
        return b"HTTP/1.1 %d %b\r\n%bContent-Length: %d%b%b\r\n" % (
            response.status,
            response.reason.encode(),
            lines,
            length,
            self._now(),
            b"Connection: close\r\n" if last else b"",
        )

    def _now(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._tail = f"\r\nDate: {rfc822_formatted_time()}\r\nServer: {SERVER_SOFTWARE}\r\n".encode()
        return self._tail


def portions(parts: Iterable[bytes]) -> Iterable[memoryview]:
    for part in parts:
        view = memoryview(part)
        for at in range(0, len(view), PORTION):
            yield view[at : at + PORTION]
