"""Header blocks against another implementation, and against what is no header block at all."""

import contextlib

import hpack
import pytest
from hypothesis import given, strategies as st

from cluster.machinery.grpc.errors import ProtocolError
from cluster.machinery.grpc.headers import HeaderDecoder, decode, request_block

_NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=20)
_HEADERS = st.dictionaries(_NAMES, st.text(max_size=60), max_size=8)


@given(_HEADERS, st.booleans())
def test_what_another_implementation_encodes_is_read(headers: dict[str, str], huffman: bool) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0

    assert decode(encoder.encode(list(headers.items()), huffman=huffman)) == headers


@given(st.binary(max_size=255))
def test_every_octet_has_its_huffman_code(value: bytes) -> None:
    encoder = hpack.Encoder()
    encoder.header_table_size = 0

    assert decode(encoder.encode([(b"x", value)], huffman=True)) == {"x": value.decode("utf-8", "replace")}


@given(st.binary(max_size=100))
def test_noise_is_headers_or_is_refused(block: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        assert all(isinstance(value, str) for value in decode(block).values())


def test_a_request_is_what_another_implementation_reads() -> None:
    block = request_block("/etcdserverpb.KV/Txn", "etcd-1:2379", secure=True, metadata=(("hasleader", "true" * 50),))

    assert [f"{name!s} {value!s}" for name, value in hpack.Decoder().decode(block)] == [
        ":method POST", ":scheme https", ":path /etcdserverpb.KV/Txn", ":authority etcd-1:2379",
        "content-type application/grpc", "te trailers", "user-agent hanse", "hasleader " + "true" * 50,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("block", "why"),
    [
        (b"\x80", "entry 0"),
        (b"\xbe", "entry 62"),  # the first of a dynamic table
        (b"\x3f\xe1\x1f", "4096"),  # a table of that size
        (b"\x88\x20", "in its middle"),
        (b"\x00", "too early"),
        (b"\x00\x05abc", "inside a string"),
        (b"\x00\xff\xff\xff\xff\xff\xff", "too large"),
        (b"\x00\x84\xff\xff\xff\xff\x01x", "end-of-string"),
        (b"\x00\x81\x00\x01x", "padding"),
    ],
)
def test_broken_blocks_are_refused(block: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        decode(block)


def test_a_block_that_unfolds_to_too_much_is_refused() -> None:
    with pytest.raises(ProtocolError, match="unfolds"):
        decode(b"\x88" * 3000)


def test_a_known_block_is_decoded_once() -> None:
    decoder = HeaderDecoder()

    assert decoder.decode(b"\x88") is decoder.decode(b"\x88")
    for number in range(1000):
        decoder.decode(b"\x00\x01x\x04%04d" % number)
    assert len(decoder._known) <= 256
