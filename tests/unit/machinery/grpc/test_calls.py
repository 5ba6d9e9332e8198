"""A stream's data to messages, and what trailers and headers mean."""

import pytest
from hypothesis import given, strategies as st

from cluster.machinery.grpc.calls import MessageReader, framed, judged, not_grpc
from cluster.machinery.grpc.errors import GrpcError


@given(st.lists(st.binary(max_size=200), max_size=8), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(framed(message) for message in messages)
    reader, found, at, turn = MessageReader(1000), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1

    assert found == messages
    assert not reader.unfinished


def test_a_message_above_the_limit_is_refused_at_its_prefix() -> None:
    with pytest.raises(GrpcError, match="1001 bytes"):
        MessageReader(1000).feed(framed(bytes(1001))[:5])


def test_a_compressed_message_is_refused() -> None:
    with pytest.raises(GrpcError, match="compressed"):
        MessageReader(1000).feed(b"\x01\0\0\0\x01x")


@pytest.mark.parametrize(
    ("trailers", "code", "details"),
    [
        ({"grpc-status": "14", "grpc-message": "etcdserver: no leader"}, "UNAVAILABLE", "etcdserver: no leader"),
        ({"grpc-status": "5", "grpc-message": "l%C3%B6st 100%25 %zz"}, "NOT_FOUND", "löst 100% %zz"),
        ({"grpc-status": "99"}, "UNKNOWN", ""),
        ({"grpc-status": "-1"}, "UNKNOWN", ""),
        ({}, "UNAVAILABLE", "the answer ended without a grpc-status"),
    ],
)
def test_trailers_are_translated(trailers: dict[str, str], code: str, details: str) -> None:
    fault = judged(trailers)

    assert fault is not None
    assert (fault.code, fault.details) == (code, details)


def test_a_web_server_is_not_taken_for_a_grpc_server() -> None:
    fault = not_grpc({":status": "503", "content-type": "text/html"})

    assert fault is not None
    assert fault.code == "UNAVAILABLE"
    assert not_grpc({":status": "200", "content-type": "application/grpc+proto"}) is None
