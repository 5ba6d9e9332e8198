"""Bodies that kill, stall or fool parsers. Each says what it is and which answers are right for a ConfigMap."""

import dataclasses
from collections.abc import Iterator

from cluster.machinery.decode import BODY_LIMIT, JSON, PROTOBUF, YAML

REFUSED = (400, 413)
_META = b'"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"hostile"}'
_YAML_META = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: hostile}\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Body:
    """`want`: the HTTP codes that are right when it is posted as a ConfigMap with dryRun=All."""

    name: str
    content_type: str
    data: bytes
    want: tuple[int, ...] = REFUSED


def _with(field: bytes) -> bytes:
    return b"{" + _META + b"," + field + b"}"


def _aliases(levels: int, width: int) -> bytes:
    lines = [b"a0: &a0 [x]"]
    for level in range(1, levels):
        items = b",".join([b"*a%d" % (level - 1)] * width)
        lines.append(b"a%d: &a%d [%s]" % (level, level, items))
    return b"\n".join(lines)


def json_bodies() -> Iterator[Body]:
    for depth in (101, 5_000, 100_000, 1_000_000):
        yield Body(f"JSON lists {depth} deep", JSON, b"[" * depth + b"]" * depth)
        yield Body(f"JSON maps {depth} deep", JSON, _with(b'"x":' + b'{"a":' * depth + b"1" + b"}" * depth))
        yield Body(f"JSON lists {depth} deep without an end", JSON, _with(b'"data":' + b"[" * depth))
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e400", b"01", b"+1", b"1.", b".5", b"0x1", b"1_0"):
        yield Body(f"number {number.decode()} in JSON", JSON, _with(b'"data":{"a":' + number + b"}"))
        yield Body(f"number {number.decode()} as generation", JSON, _number(number))
    for digits in (20, 40, 5_000, 200_000):
        yield Body(f"number of {digits} digits", JSON, _number(b"9" * digits))
        yield Body(f"fraction of {digits} digits", JSON, _number(b"0." + b"9" * digits))
    yield Body("exponent of 5000 digits", JSON, _number(b"1e" + b"9" * 5000))
    for name, text in (
        ("lone high surrogate", rb"\ud800"),
        ("lone low surrogate", rb"\udc00"),
        ("surrogates swapped", rb"\udc00\ud800"),
    ):
        # Stricter than upstream, which stores a replacement character that nobody sent.
        yield Body(f"{name} in a value", JSON, _with(b'"data":{"a":"' + text + b'"}'))
        yield Body(f"{name} in a key", JSON, _with(b'"data":{"' + text + b'":"a"}'))
        yield Body(f"{name} in the name", JSON, b'{"metadata":{"name":"' + text + b'"}}')
    yield Body("bytes that are no UTF-8 in a value", JSON, _with(b'"data":{"a":"\xff\xfe"}'), (201, 400))
    yield Body("raw surrogate bytes", JSON, _with(b'"data":{"a":"\xed\xa0\x80"}'), (201, 400))
    yield Body("raw control character", JSON, _with(b'"data":{"a":"\x01"}'))
    yield Body("escaped NUL in a value", JSON, _with(rb'"data":{"a":"\u0000"}'), (201,))
    yield Body("escaped NUL in the name", JSON, rb'{"metadata":{"name":"a\u0000b"}}', (422,))
    yield Body("bad escape", JSON, _with(rb'"data":{"a":"\x41"}'))
    yield Body("byte order mark", JSON, b"\xef\xbb\xbf" + _with(b'"data":{}'), (201, 400))
    yield Body("UTF-16", JSON, _with(b'"data":{}').decode().encode("utf-16"))
    yield Body("nothing", JSON, b"", (400, 422))
    yield Body("blanks", JSON, b" \n\t", (400, 422))
    yield Body("a list", JSON, b"[]")
    yield Body("a string", JSON, b'"ConfigMap"')
    yield Body("null", JSON, b"null", (400, 422))
    yield Body("two documents", JSON, _with(b'"data":{}') * 2)
    yield Body("a comment", JSON, b"/* */" + _with(b'"data":{}'))
    yield Body("a comma too many", JSON, _with(b'"data":{},'))
    yield Body("single quotes", JSON, b"{'metadata':{}}")
    yield Body("the same key twice", JSON, _with(b'"data":{"a":"1"},"data":{"a":"2"}'))
    yield Body("the same key in another case", JSON, _with(b'"data":{"a":"1"},"DATA":{"a":"2"}'))
    yield Body("the same key written differently", JSON, _with(rb'"data":{"a":"1","\u0061":"2"}'))
    yield Body("a key of Python", JSON, _with(b'"__class__":{"__init__":1}'))
    yield Body("3 MB of maps in a list", JSON, _with(b'"x":[' + b"{}," * 950_000 + b"{}]"))
    keys = b",".join(b'"k%d":""' % n for n in range(200_000))
    yield Body("200000 keys", JSON, _with(b'"data":{' + keys + b"}"), (201,))
    yield Body("as large as allowed", JSON, _with(b'"data":{"a":"' + b"a" * (BODY_LIMIT - 100) + b'"}'), (422, 413))
    yield Body("a byte more than allowed", JSON, b" " * (BODY_LIMIT + 1), (413,))


def yaml_bodies() -> Iterator[Body]:
    for depth in (101, 5_000, 30_000, 100_000, 1_000_000):
        yield Body(f"YAML lists {depth} deep", YAML, b"[" * depth)
        yield Body(f"YAML maps {depth} deep", YAML, b"{a: " * depth)
        yield Body(f"YAML questions {depth} deep", YAML, b"? " * depth)
        yield Body(f"YAML dashes {depth} deep", YAML, b"- " * depth)
    yield Body("YAML blocks 1500 deep", YAML, b"".join(b" " * n + b"a:\n" for n in range(1500)))
    yield Body("nine levels of aliases", YAML, _YAML_META + _aliases(9, 9))
    yield Body("aliases, many", YAML, _YAML_META + b"a: &a x\nb: [" + b"*a," * 100_000 + b"]")
    yield Body("an alias of itself", YAML, _YAML_META + b"data: &a {a: *a}")
    yield Body("an alias of nothing", YAML, _YAML_META + b"data: *a")
    yield Body("merges of merges", YAML, _YAML_META + b"a: &a {x: y}\ndata: {<<: [*a, *a]}", (201, 400))
    yield Body("a flat list of 2.8 MB", YAML, b"- a\n" * 700_000)
    yield Body("a flat map of 2.8 MB", YAML, b"".join(b"k%d: v\n" % n for n in range(250_000)))
    for value in ("no", "010", "22:22", "0o17", "0x1F", "1e3", ".inf", ".nan", "~", "on", "1_000"):
        yield Body(
            f"plain {value} where a text belongs", YAML, _YAML_META + f"data: {{a: {value}}}".encode(), (201, 400)
        )
    yield Body("a date where a text belongs", YAML, _YAML_META + b"data: {a: 2024-01-01}", (201, 400))
    yield Body("a date as a key", YAML, _YAML_META + b"data: {2024-01-01: a}", (201, 400, 422))
    yield Body("a list as a key", YAML, _YAML_META + b"data: {[a]: b}")
    yield Body("a map as a key", YAML, _YAML_META + b"data: {{a: b}: c}")
    yield Body("a number as a key", YAML, _YAML_META + b"data: {1: a}", (201,))
    yield Body("null as a key", YAML, _YAML_META + b"data: {~: a}", (201, 400, 422))
    yield Body("the same key twice in YAML", YAML, _YAML_META + b"data: {a: b}\ndata: {a: c}")
    yield Body("a tag of Python", YAML, _YAML_META + b"data: !!python/object/apply:os.system [id]")
    yield Body("a tag of nobody", YAML, _YAML_META + b"data: !<tag:x> {a: b}", (201, 400))
    yield Body("binary that is none", YAML, _YAML_META + b"data: {a: !!binary '%%%'}", (201, 400))
    yield Body("a set", YAML, _YAML_META + b"data: !!set {a, b}", (201, 400))
    yield Body("tabs", YAML, b"\tapiVersion: v1")
    yield Body("a directive of YAML 9", YAML, b"%YAML 9.9\n---\n" + _YAML_META, (201, 400))
    yield Body("two documents in YAML", YAML, _YAML_META + b"---\n" + _YAML_META, (201, 400))
    yield Body("NUL in YAML", YAML, _YAML_META + b"data: {a: \0}")
    yield Body("YAML that is no UTF-8", YAML, _YAML_META + b"data: {a: \xff}")
    yield Body("YAML in UTF-16", YAML, _YAML_META.decode().encode("utf-16"), (201, 400))
    yield Body("an emoji split by its encoding", YAML, _YAML_META + b"data: {a: \xf0\x9f\x98}")
    yield Body("a text without an end", YAML, _YAML_META + b'data: {a: "')
    yield Body("an anchor of 100 kB", YAML, _YAML_META + b"data: &" + b"a" * 100_000 + b" {a: b}", (201, 400))


def protobuf_bodies() -> Iterator[Body]:
    magic = b"k8s\0"

    def envelope(raw: bytes, kind: bytes = b"ConfigMap") -> bytes:
        meta = b"\x0a\x02v1" + b"\x12" + bytes([len(kind)]) + kind
        return magic + b"\x0a" + bytes([len(meta)]) + meta + b"\x12" + _varint(len(raw)) + raw

    yield Body("no protobuf", PROTOBUF, b"{}")
    yield Body("magic alone", PROTOBUF, magic)
    yield Body("another kind in protobuf", PROTOBUF, envelope(b"", b"Secret"))
    yield Body("no kind in protobuf", PROTOBUF, envelope(b"", b""))
    yield Body("a kind that is no UTF-8", PROTOBUF, envelope(b"", b"\xff\xfe"))
    yield Body("a length beyond the end", PROTOBUF, envelope(b"\x0a\xff\xff\x03"))
    yield Body("a length beyond 64 bits", PROTOBUF, envelope(b"\x0a" + b"\xff" * 11))
    yield Body("a tag of zero", PROTOBUF, envelope(b"\x00"))
    yield Body("a group that does not end", PROTOBUF, envelope(b"\x0b"))
    yield Body("groups 100000 deep", PROTOBUF, envelope(b"\x0b" * 100_000))
    yield Body("wire type 7", PROTOBUF, envelope(b"\x0f"))
    yield Body("metadata as a number", PROTOBUF, envelope(b"\x08\x01"))
    yield Body("a name that is no UTF-8", PROTOBUF, envelope(b"\x0a\x04\x0a\x02\xff\xfe"), (400, 422))
    nested = b""
    for _ in range(5_000):
        nested = b"\x0a" + _varint(len(nested)) + nested
    yield Body("messages 5000 deep", PROTOBUF, envelope(nested), (400, 422))
    yield Body("unknown fields, a million", PROTOBUF, envelope(b"\xf8\x3f\x01" * 900_000), (400, 422))


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def _number(text: bytes) -> bytes:
    return b'{"metadata":{"name":"hostile","generation":' + text + b"}}"


def all_bodies() -> Iterator[Body]:
    yield from json_bodies()
    yield from yaml_bodies()
    yield from protobuf_bodies()
