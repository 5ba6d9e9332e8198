"""Which requests the door takes for plain, and where one ends and the next begins."""

import hashlib

import pytest

from cluster.apiserver.front_door.heads import Boundary, body_length, read_headers, split, split_write
from cluster.apiserver.negotiation import PARTIAL, TABLE

HEAD = b"GET /api/v1/pods?limit=1 HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer tok\r\n\r\n"


def test_a_plain_head_is_taken_apart() -> None:
    found = split(HEAD)
    assert found == (b"/api/v1/pods?limit=1", b"Host: a\r\nAuthorization: Bearer tok\r\n\r\n")
    head = read_headers(found[1])
    assert head is not None
    assert head.token == hashlib.sha256(b"tok").digest()


@pytest.mark.parametrize(
    "data",
    [
        HEAD[:-1],
        HEAD + b"G",
        HEAD + HEAD,
        b" " + HEAD,
        HEAD.replace(b"GET", b"HEAD"),
        HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HEAD.replace(b"/api", b"http://host/api"),
        HEAD.replace(b"limit=1", b"a b"),
        HEAD.replace(b"limit=1", b"#part"),
        HEAD.replace(b"limit=1", b"\xc3\xa9"),
        HEAD.replace(b"Host: a", b"Host: " + b"a" * 9000),
    ],
)
def test_what_is_not_exactly_one_plain_head_is_left_alone(data: bytes) -> None:
    assert split(data) is None


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 0",
        b"transfer-encoding: chunked",
        b"Expect: 100-continue",
        b"Connection: close",
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Impersonate-User: jane",
        b"impersonate-extra-scopes: a",
        b"Sec-WebSocket-Protocol: x",
        b"Authorization: Bearer two",
        b"Accept: application/yaml",
        b"Accept: image/png",
        b" folded: line",
        b"No colon",
        b"Space : before",
        b"Bare\rreturn: x",
        b"Nul: \x00",
        b"Latin: \xe9",
    ],
)
def test_headers_that_ask_for_more_than_a_plain_read_are_left_alone(line: bytes) -> None:
    assert read_headers(b"Host: a\r\nAuthorization: Bearer tok\r\n" + line + b"\r\n\r\n") is None


@pytest.mark.parametrize("value", [b"Basic dTpw", b"Bearer ", b"Bearer", b"Negotiate x"])
def test_other_credentials_than_one_bearer_token_are_left_alone(value: bytes) -> None:
    assert read_headers(b"Authorization: " + value + b"\r\n\r\n") is None


def test_headers_say_in_which_form_the_answer_is_wanted() -> None:
    table = read_headers(b"Accept: application/json;as=Table;v=v1;g=meta.k8s.io,application/json\r\n\r\n")
    partial = read_headers(b"accept: application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io\r\n\r\n")
    assert table is not None
    assert partial is not None
    assert (table.view.shape, partial.view.shape) == (TABLE, PARTIAL)
    assert table.token is None


POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"


def test_a_boundary_is_reached_when_a_body_has_come_whole() -> None:
    boundary = Boundary()
    seen = []
    for chunk in (POST + b"12", b"34", b"5", HEAD):
        boundary.passed(chunk)
        seen.append(boundary.reached)
    assert seen == [False, False, True, True]


@pytest.mark.parametrize(
    "chunks",
    [
        [POST + b"123456"],
        [POST + b"12", b"3456"],
        [HEAD[:10]],
        [HEAD + HEAD[:10]],
        [HEAD + HEAD],
        [POST.replace(b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n"],
    ],
)
def test_a_boundary_that_cannot_be_told_is_never_found_again(chunks: list[bytes]) -> None:
    boundary = Boundary()
    for chunk in [*chunks, HEAD, HEAD]:
        boundary.passed(chunk)
    assert not boundary.known
    assert not boundary.reached


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        (b"GET / HTTP/1.1", 0),
        (b"PUT / HTTP/1.1\r\ncontent-length:12", 12),
        (b"PUT / HTTP/1.1\r\nContent-Length: 12 \r\nHost: a", 12),
        (b"PUT / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2", None),
        (b"PUT / HTTP/1.1\r\nContent-Length: +1", None),
        (b"PUT / HTTP/1.1\r\nContent-Length: 0x1", None),
        (b"PUT / HTTP/1.1\r\nContent-Length : 1", None),
        (b"PUT / HTTP/1.1\r\nX: y\r\n Content-Length: 1", None),
        (b"PUT / HTTP/1.1\nContent-Length: 1", None),
        (b"PUT / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 1", None),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket", None),
        (b"CONNECT a:1 HTTP/1.1", None),
    ],
)
def test_a_body_has_a_length_when_one_header_says_it(lines: bytes, length: int | None) -> None:
    assert body_length(lines) == length


WRITE = b"POST /api/v1/pods HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nUser-Agent: u/1\r\n\r\nbody"


def test_a_write_is_taken_apart_also_while_its_body_is_on_the_way() -> None:
    for data in (WRITE, WRITE[:-1], WRITE[:-4]):
        found = split_write(data, 10)
        assert found is not None
        assert (found.method, found.target, found.length) == ("POST", b"/api/v1/pods", 4)
        assert WRITE[found.end :] == b"body"
        assert found.block == b"Host: a\r\nUser-Agent: u/1\r\n\r\n"
    without = split_write(b"DELETE /api/v1/pods/x HTTP/1.1\r\nHost: a\r\n\r\n", 10)
    assert without is not None
    assert (without.block, without.length) == (b"Host: a\r\n\r\n", 0)


@pytest.mark.parametrize(
    "data",
    [
        WRITE + b"P",
        WRITE[:40],
        WRITE.replace(b": 4", b": 11"),
        WRITE.replace(b": 4", b": -4"),
        WRITE.replace(b": 4", b": 4, 4"),
        WRITE.replace(b"Content-Length: 4\r\n", b""),
        WRITE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        WRITE.replace(b"POST", b"PUSH"),
    ],
)
def test_other_writes_are_left_to_the_handler(data: bytes) -> None:
    assert split_write(data, 10) is None


def test_two_lengths_and_chunks_make_a_head_unusual() -> None:
    for line in (b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n"):
        found = split_write(WRITE.replace(b"Host: a\r\n", b"Host: a\r\n" + line), 100)
        assert found is None or read_headers(found.block) is None
