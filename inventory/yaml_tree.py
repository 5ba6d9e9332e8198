"""
YAML text -> plain values, with the line and column of each.

The only place that parses a description. Size, nesting, number of values and aliases are limited before and while
the tree is built: PyYAML's C composer recurses and dies of 60 kB of `[`, and aliases of aliases grow without bound.
"""

from dataclasses import dataclass, field

import yaml

from inventory.faults import Fault, Path

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 32
MAX_VALUES = 100_000
MAX_ALIASES = 100

Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]

_SCALAR_KINDS = {"int": int, "float": float, "bool": bool, "null": type(None), "str": str}


@dataclass(slots=True)
class Document:
    """A parsed document: its value, where each part stands, and what was wrong with its form."""

    value: Value = None
    marks: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Path -> (line, column), of a mapping's value the place of its key. From 1."""
    faults: list[Fault] = field(default_factory=list)

    def place(self, path: Path) -> tuple[int, int]:
        """Of the path, or of the nearest part above it that stands in the text."""
        while path not in self.marks and path:
            path = path[:-1]
        return self.marks.get(path, (1, 1))


def parse(text: str) -> Document:
    """Never raises for bad input: faults say what is wrong; a document with faults of form has no value."""
    document = Document()
    if fault := _unsafe(text):
        document.faults.append(fault)
        return document
    try:
        node = yaml.compose(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError) as error:
        document.faults.append(_syntax_fault(error))
        return document
    if node is None:
        document.faults.append(Fault((), "the file is empty", 1, 1))
        return document
    _Builder(document).build(node)
    return document


def _unsafe(text: str) -> Fault | None:
    size = len(text.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        return Fault((), f"the file has {size} bytes, more than {MAX_BYTES}", 1, 1)
    depth = aliases = documents = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            mark = event.start_mark
            place = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
            if isinstance(event, yaml.CollectionStartEvent):
                depth += 1
            elif isinstance(event, yaml.CollectionEndEvent):
                depth -= 1
            elif isinstance(event, yaml.AliasEvent):
                aliases += 1
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
            if depth > MAX_DEPTH:
                return Fault((), f"values are nested more than {MAX_DEPTH} deep", *place)
            if aliases > MAX_ALIASES:
                return Fault((), f"there are more than {MAX_ALIASES} aliases", *place)
            if documents > 1:
                return Fault((), "there is a second document; a description is one", *place)
    except (yaml.YAMLError, ValueError) as error:
        return _syntax_fault(error)
    return None


def _syntax_fault(error: Exception) -> Fault:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        said = " ".join(part for part in (error.context, error.problem) if part)
        return Fault((), f"this is no YAML: {said}", error.problem_mark.line + 1, error.problem_mark.column + 1)
    return Fault((), f"this is no YAML: {error}", 1, 1)


class _Builder:
    """Walks the nodes of one document. Counts what it makes, since an alias is made anew wherever it stands."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._values = 0

    def build(self, root: yaml.Node) -> None:
        self._document.value = self._value(root, ())
        if self._values > MAX_VALUES:
            self._document.value = None

    def _fault(self, path: Path, node: yaml.Node, message: str) -> None:
        mark = node.start_mark
        self._document.faults.append(Fault(path, message, mark.line + 1, mark.column + 1))

    def _value(self, node: yaml.Node, path: Path) -> Value:
        self._values += 1
        self._document.marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if self._values > MAX_VALUES:
            if self._values == MAX_VALUES + 1:
                self._fault(path, node, f"there are more than {MAX_VALUES} values")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, number)) for number, item in enumerate(node.value)]
        return self._scalar(node, path)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(path, key_node, "a key must be a plain word")
                continue
            key = str(key_node.value)
            here = (*path, key)
            if key in found:
                self._fault(here, key_node, "the key stands here a second time")
                continue
            self._document.marks[here] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            found[key] = self._value(value_node, here)
        return found

    def _scalar(self, node: yaml.Node, path: Path) -> Value:
        kind = node.tag.rpartition(":")[2]
        text = str(node.value)
        if kind not in _SCALAR_KINDS:
            # A date or a tag of somebody's own; where we want text it is meant as text.
            return text
        if kind == "str":
            return text
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("true", "yes", "on")
        try:
            return int(text.replace("_", ""), 0) if kind == "int" else float(text.replace("_", ""))
        except ValueError:
            return text
