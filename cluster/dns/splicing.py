"""The ordinary question, found by its bytes alone: for answers that are compiled and only have to be put together."""

from typing import NamedTuple

from cluster.dns.wire import HEADER, OPT_ANSWER, Answer

_PLAIN = b"\x00\x01\x00\x00\x00\x00\x00\x00"
_WITH_OPT = b"\x00\x01\x00\x00\x00\x00\x00\x01"
_OPT_START = b"\x00\x00\x29"
_OPT_END = b"\x00\x00\x00\x00\x00\x00"  # no extended rcode, version 0, no flags, no options


class Ordinary(NamedTuple):
    """
    What stands where a question does in a query without options. It may be garbage: nothing is compiled for that.
    """

    key: bytes
    """The question section in lower case."""
    question: bytes
    opt: bytes
    """The OPT record of the answer, or empty."""
    room: int
    """Bytes of a UDP answer."""
    flags: int
    """1 with RD set, 2 with CD set."""


def read_ordinary(data: bytes) -> Ordinary | None:
    """None: the long way has to be taken."""
    if len(data) < 17 or data[2] & 0xFE:
        return None
    counts = data[4:12]
    if counts == _PLAIN:
        question, opt, room = data[12:], b"", 512
    elif counts == _WITH_OPT and data[-11:-8] == _OPT_START and data[-6:] == _OPT_END:
        question, opt = data[12:-11], OPT_ANSWER
        room = min(max(data[-8] << 8 | data[-7], 512), 1232)
    else:
        return None
    flags = (data[2] & 1) | (data[3] & 0x10) >> 3
    return Ordinary(question[:-4].lower() + question[-4:], question, opt, room, flags)


def fits(asked: Ordinary, answer: Answer) -> bool:
    """Whether the answer can go over UDP as it is."""
    return HEADER + len(asked.question) + answer.longest + len(asked.opt) <= asked.room
