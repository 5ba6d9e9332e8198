"""Bytes to frames and back, whatever the pieces a socket gives them in."""

import contextlib

import pytest
from hypothesis import given, strategies as st

from cluster.machinery.grpc import frames
from cluster.machinery.grpc.errors import ProtocolError

_FRAMES = st.lists(
    st.tuples(st.integers(0, 255), st.integers(0, 255), st.integers(0, frames.MAX_STREAM_ID), st.binary(max_size=300)),
    max_size=6,
)


@given(_FRAMES, st.lists(st.integers(1, 40), min_size=1, max_size=30))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    given_frames: list[frames.Frame], cuts: list[int]
) -> None:
    data = b"".join(frames.frame(*each) for each in given_frames)
    reader, found, at, turn = frames.FrameReader(), [], 0, 0
    while at < len(data):
        size = cuts[turn % len(cuts)]
        found += reader.feed(data[at : at + size])
        at, turn = at + size, turn + 1

    assert found == given_frames


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_noise_is_cut_into_frames_or_refused_and_never_piles_up(pieces: list[bytes]) -> None:
    reader = frames.FrameReader(64)
    fed = 0
    with contextlib.suppress(ProtocolError):
        for piece in pieces:
            fed += len(piece)
            for _, _, stream, payload in reader.feed(piece):
                assert len(payload) <= 64
                assert 0 <= stream <= frames.MAX_STREAM_ID
                fed -= 9 + len(payload)
            assert 0 <= fed < 9 + 64


def test_a_frame_above_the_announced_size_is_refused_before_it_has_come() -> None:
    header = frames.frame(frames.DATA, 0, 1, bytes(16_385))[:9]

    with pytest.raises(ProtocolError, match="16385 bytes"):
        frames.FrameReader().feed(header)


def test_padding_and_priority_are_taken_off() -> None:
    assert frames.content(frames.DATA, frames.PADDED, b"\x02abc\0\0") == b"abc"
    assert frames.content(frames.HEADERS, frames.PADDED | frames.WITH_PRIORITY, b"\x01\0\0\0\1\x10abc\0") == b"abc"
    assert frames.content(frames.DATA, 0, b"abc") == b"abc"


@pytest.mark.parametrize(
    ("kind", "flags", "payload"),
    [
        (frames.DATA, frames.PADDED, b""),
        (frames.DATA, frames.PADDED, b"\x04abc"),
        (frames.HEADERS, frames.WITH_PRIORITY, b"\0\0\0\0"),
        (frames.HEADERS, frames.PADDED | frames.WITH_PRIORITY, b"\x01\0\0\0\0\0"),
    ],
)
def test_padding_that_cannot_be_is_refused(kind: int, flags: int, payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        frames.content(kind, flags, payload)


@pytest.mark.parametrize(
    "values",
    [{frames.INITIAL_WINDOW_SIZE: 2**31}, {frames.MAX_FRAME_SIZE: 16_383}, {frames.MAX_FRAME_SIZE: 2**24},
     {frames.ENABLE_PUSH: 1}],
)  # fmt: skip
def test_settings_that_nobody_may_send_are_refused(values: dict[int, int]) -> None:
    with pytest.raises(ProtocolError):
        frames.read_settings(frames.settings(values)[9:])


def test_settings_of_an_odd_size_are_refused() -> None:
    with pytest.raises(ProtocolError):
        frames.read_settings(bytes(7))
