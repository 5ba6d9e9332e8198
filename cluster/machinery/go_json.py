"""
Why a text is not JSON, in the words of Go's encoding/json, because clients and people know those.

Only for the error path: orjson decides what is valid, this says where it stops being so.
"""

import re

from cluster.machinery.field_errors import quoted

_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING_RUN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = frozenset(b"0123456789abcdefABCDEF")
_DIGITS = frozenset(b"0123456789")
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
SCAN_LIMIT = 256 * 1024
"""Bytes. Scanning is slow; a client that sends more than this gets the short text."""
END = "unexpected end of JSON input"


class _Stop(Exception):
    """The scan has found the fault."""


def syntax_error(data: bytes) -> str:
    """Go's text for the first syntax fault; empty when Go would see none."""
    if len(data) > SCAN_LIMIT:
        return "invalid JSON"
    try:
        scanner = _Scanner(data)
        scanner.document()
    except _Stop as stop:
        return str(stop)
    return ""


class _Scanner:
    """One pass with a stack of open brackets; nothing recursive, so depth costs nothing."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def document(self) -> None:
        stack: list[int] = []
        while True:
            opened = self._value_start()
            if opened is not None:
                stack.append(opened)
                if not self._enter(opened, stack):
                    continue
            if not self._leave(stack):
                return

    def _enter(self, opened: int, stack: list[int]) -> bool:
        """After `{` or `[`: True when it is closed at once, False when a value follows."""
        closing = ord("}") if opened == ord("{") else ord("]")
        if self._byte(peek=True) == closing:
            self._at += 1
            stack.pop()
            return True
        if opened == ord("{"):
            self._key()
        return False

    def _leave(self, stack: list[int]) -> bool:
        """After a value: True when another value follows, False at the document's end."""
        while stack:
            in_object = stack[-1] == ord("{")
            byte = self._byte()
            if byte == ord(","):
                if in_object:
                    self._key()
                return True
            if byte != ord("}" if in_object else "]"):
                raise self._invalid(byte, "after object key:value pair" if in_object else "after array element")
            stack.pop()
        self._skip_space()
        if self._at < len(self._data):
            raise self._invalid(self._data[self._at], "after top-level value")
        return False

    def _skip_space(self) -> None:
        match = _SPACE.match(self._data, self._at)
        self._at = match.end() if match else self._at

    def _byte(self, *, peek: bool = False) -> int:
        self._skip_space()
        return self._raw(peek=peek)

    def _raw(self, *, peek: bool = False) -> int:
        if self._at >= len(self._data):
            raise _Stop(END)
        byte = self._data[self._at]
        if not peek:
            self._at += 1
        return byte

    def _invalid(self, byte: int, context: str) -> _Stop:
        if byte == ord("'"):
            shown = r"'\''"
        elif byte == ord('"'):
            shown = "'\"'"
        else:
            shown = "'" + quoted(chr(byte))[1:-1] + "'"
        return _Stop(f"invalid character {shown} {context}")

    def _key(self) -> None:
        byte = self._byte()
        if byte != ord('"'):
            raise self._invalid(byte, "looking for beginning of object key string")
        self._string()
        byte = self._byte()
        if byte != ord(":"):
            raise self._invalid(byte, "after object key")

    def _value_start(self) -> int | None:
        """Consumes a scalar; for `{` and `[` only the bracket, which is returned."""
        byte = self._byte()
        if byte in b"{[":
            return byte
        if byte == ord('"'):
            self._string()
        elif byte in _LITERALS:
            self._literal(_LITERALS[byte])
        elif byte == ord("-") or byte in _DIGITS:
            self._number(byte)
        else:
            raise self._invalid(byte, "looking for beginning of value")
        return None

    def _literal(self, word: bytes) -> None:
        for expected in word[1:]:
            byte = self._raw()
            if byte != expected:
                raise self._invalid(byte, f"in literal {word.decode()} (expecting '{chr(expected)}')")

    def _string(self) -> None:
        while True:
            match = _STRING_RUN.match(self._data, self._at)
            self._at = match.end() if match else self._at
            byte = self._raw()
            if byte == ord('"'):
                return
            if byte != ord("\\"):
                raise self._invalid(byte, "in string literal")
            self._escape()

    def _escape(self) -> None:
        byte = self._raw()
        if byte == ord("u"):
            for _ in range(4):
                digit = self._raw()
                if digit not in _HEX:
                    raise self._invalid(digit, r"in \u hexadecimal character escape")
        elif byte not in b'"\\/bfnrt':
            raise self._invalid(byte, "in string escape code")

    def _number(self, first: int) -> None:
        if first == ord("-"):
            first = self._raw()
            if first not in _DIGITS:
                raise self._invalid(first, "in numeric literal")
        if first != ord("0"):
            self._digits()
        if self._next_is(b"."):
            self._required_digit("after decimal point in numeric literal")
        if self._next_is(b"eE"):
            self._next_is(b"+-")
            self._required_digit("in exponent of numeric literal")

    def _next_is(self, choices: bytes) -> bool:
        if self._at < len(self._data) and self._data[self._at] in choices:
            self._at += 1
            return True
        return False

    def _required_digit(self, context: str) -> None:
        byte = self._raw()
        if byte not in _DIGITS:
            raise self._invalid(byte, context)
        self._digits()

    def _digits(self) -> None:
        while self._at < len(self._data) and self._data[self._at] in _DIGITS:
            self._at += 1
