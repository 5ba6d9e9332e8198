"""Bytes on a TLS connection and what comes back: an HTTP client that minds nothing."""

import contextlib
import dataclasses
import http.client
import json
import re
import socket
import ssl

from tests.integration.control_plane_processes import TOKEN, ControlPlane

HEAD = f"Host: h\r\nAuthorization: Bearer {TOKEN}\r\n"
_REPEATED = re.compile(r"\{([^{}]*?)\*(\d+)\}", re.DOTALL)


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """`status` is 0 when the server hung up without one; `seconds` are what the server worked on it."""

    status: int
    headers: dict[str, str]
    body: bytes
    seconds: float


def expand(text: str) -> bytes:
    """`{head}` becomes valid headers, `{abc*3}` becomes abcabcabc; characters become bytes."""
    text = text.replace("{head}", HEAD)
    return _REPEATED.sub(lambda found: found[1] * int(found[2]), text).encode("latin-1")


def connect(plane: ControlPlane, timeout: float = 5.0) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=plane.certificate)
    plain = socket.create_connection(("127.0.0.1", plane.port), timeout=timeout)
    return context.wrap_socket(plain, server_hostname="127.0.0.1")


def exchange(plane: ControlPlane, request: bytes) -> Answer:
    """Send `request` on a connection of its own; of a stream, read the begin. Raises TimeoutError after 5 s."""
    with connect(plane) as channel:
        worked = plane.cpu_seconds()
        with contextlib.suppress(ConnectionError, ssl.SSLError):  # it hung up while we talked; perhaps it said why
            channel.sendall(request)
        try:
            first = channel.recv(65536)
        except (ConnectionError, ssl.SSLEOFError):
            first = b""
        return _read(channel, first, plane.cpu_seconds() - worked)


def _read(channel: ssl.SSLSocket, received: bytes, seconds: float) -> Answer:
    if not received:
        return Answer(0, {}, b"", seconds)
    while b"\r\n\r\n" not in received and (more := _more(channel)):
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    line, *rest = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (entry.partition(":") for entry in rest)}
    length = int(headers.get("content-length", 0))
    while len(body) < length and (more := _more(channel)):
        body += more
    if headers.get("transfer-encoding") == "chunked" and int(line.split(" ")[1]) >= 400:
        while not body.endswith(b"0\r\n\r\n") and (more := _more(channel)):
            body += more
    return Answer(int(line.split(" ")[1]), headers, body, seconds)


def _more(channel: ssl.SSLSocket) -> bytes:
    try:
        return channel.recv(65536)
    except (ConnectionError, ssl.SSLEOFError):
        return b""


class Talk:
    """One connection that is kept, for many well-formed requests with odd contents."""

    def __init__(self, plane: ControlPlane) -> None:
        context = ssl.create_default_context(cafile=plane.certificate)
        self._plane = plane
        self._connection = http.client.HTTPSConnection("127.0.0.1", plane.port, timeout=10, context=context)

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Answer:
        """`body` is sent as JSON unless it is bytes. Raises TimeoutError after 10 s."""
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        worked = self._plane.cpu_seconds()
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        found: dict[str, str] = {}
        for name, value in answer.getheaders():
            found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
        return Answer(answer.status, found, content, self._plane.cpu_seconds() - worked)
