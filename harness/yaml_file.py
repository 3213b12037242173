"""YAML read as data that knows its lines: the JSON subset of YAML 1.2, nothing executed, nothing expanded.

PyYAML's loader is not used past its parser: it reads YAML 1.1, in which `1e3` is a string, `no` is false and
`1:30` is 90, it follows aliases (a small file can expand to gigabytes) and it forgets where a value stood.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from harness.schema.errors import InputError
from harness.schema.faults import Where, short

MAX_BYTES = 250_000
MAX_DEPTH = 20
MAX_VALUES = 5_000
"""Values, keys, lists and mappings of one file. The largest scenario that can be run, of 64 classes and 1,000
points, needs half as many. PyYAML takes half a second for either, at worst."""


@dataclass(frozen=True, slots=True)
class Document:
    """The data of a YAML file, and the line (from 1) of each key and item in it."""

    name: str
    text: str
    data: Any
    lines: dict[Where, int] = field(default_factory=dict)

    def line(self, where: Where) -> int | None:
        """Line of the value at `where`, or of the nearest thing around it."""
        for length in range(len(where), -1, -1):
            if where[:length] in self.lines:
                return self.lines[where[:length]]
        return None


def read(path: Path, what: str = "scenario") -> Document:
    """Read one YAML file. Raises InputError with the line for whatever isn't plain data; `what` the file is
    of is said there."""
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder: name one of the .yaml files in it")
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror}): give the path of a {what} file"
        ) from error
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path} is over {MAX_BYTES // 1000} kB, too large for a {what}: shorten it")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8 text: save the file as UTF-8") from error
    return parse(text, str(path), what)


def parse(text: str, name: str, what: str = "scenario") -> Document:
    """Parse YAML text; `name` stands before the line in errors. Raises InputError as `read`."""
    if len(text) > MAX_BYTES:
        raise InputError(f"{name} is over {MAX_BYTES // 1000} kB, too large for a {what}: shorten it")
    try:
        _refuse_what_expands(text, name, what)
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InputError(f"{name}:{line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: not valid YAML: {reason}: remove that character") from error
    if node is None:
        raise InputError(f"{name} is empty: write the {what} into it, or remove it")
    document = Document(name, text, None)
    data = _data(node, (), document)
    return Document(name, text, data, document.lines)


def _refuse_what_expands(text: str, name: str, what: str) -> None:
    depth = values = documents = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = (event.start_mark.line if event.start_mark else 0) + 1
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise InputError(f"{name}:{line}: a second document begins here: keep one {what} a file")
        if isinstance(event, yaml.AliasEvent):
            anchor = short(event.anchor or "")
            raise InputError(f"{name}:{line}: the alias *{anchor} is refused: write the value out")
        if (tag := getattr(event, "tag", None)) is not None:
            raise InputError(f"{name}:{line}: the tag {short(tag)} is refused: write plain YAML without tags")
        values += isinstance(event, yaml.NodeEvent)
        if values > MAX_VALUES:
            raise InputError(f"{name}:{line}: over {MAX_VALUES:,} values, too many for a {what}: shorten it")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise InputError(f"{name}:{line}: nested deeper than {MAX_DEPTH} levels: flatten it")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _data(node: yaml.Node, where: Where, document: Document) -> Any:
    document.lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, where, document)
    if isinstance(node, yaml.SequenceNode):
        return [_data(item, (*where, index), document) for index, item in enumerate(node.value)]
    assert isinstance(node, yaml.ScalarNode)
    try:
        return scalar(node.value) if node.style is None else node.value
    except ValueError as error:
        raise InputError(f"{document.name}:{node.start_mark.line + 1}: {error}") from error


def _mapping(node: yaml.MappingNode, where: Where, document: Document) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        key = key_node.value
        if not isinstance(key_node, yaml.ScalarNode):
            raise InputError(f"{document.name}:{line}: a key must be a word: a list or mapping stands there")
        if key in mapping:
            raise InputError(
                f"{document.name}:{line}: the key {short(key)!r} is given twice: keep one of them"
            )
        document.lines[(*where, key)] = line
        mapping[key] = _data(value_node, (*where, key), document)
    return mapping


_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}


def scalar(text: str) -> str | int | float | bool | None:
    """The value of an unquoted scalar by YAML 1.2's core schema, less octal, hexadecimal, inf and nan.

    Raises ValueError for a number too large to mean anything.
    """
    if text.lower() in _WORDS:
        value: bool | None = _WORDS[text.lower()]
        return value
    if _INT.fullmatch(text):
        if len(text.lstrip("+-")) > 18:
            raise ValueError(f"the number {text[:12]}… is too large: give at most 18 digits")
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if number in (float("inf"), float("-inf")):
            raise ValueError(f"the number {text[:20]} is too large: give one under 1e308")
        return number
    return text
