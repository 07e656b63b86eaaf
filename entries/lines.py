"""Entries of a YAML file as its lines: one is taken out, or words are replaced, and every other byte stays as it is.

ruamel only says where things are. What comes out is read again, and refused unless it says what it should: YAML that is laid out in
a way that is not expected here (an entry that shares its line with another, or an anchor that others use) is left to a person.
"""

import functools
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Keys = tuple[str | int, ...]
# Gets the keys of a place (a key's own are the last), whether it is a key, and the word there; returns the word that it shall be.
Change = Callable[[Keys, bool, str], str]
OTHERWISE = "it is laid out in a way that cannot be edited line by line"


class LayoutError(Exception):
    """The file cannot be edited by lines. The message is the reason, a part of a sentence."""


def parse(text: str) -> Any:
    """What a YAML text says, as DVC reads it (YAML 1.2). Raises YAMLError or ValueError where it is not YAML."""
    return YAML(typ="safe").load(text)


def without(text: str, keys: Keys) -> str:
    """The text without the entry at `keys`, the comments right above it and the blank lines that set it apart.

    A section that is empty then gets {} or [], since without them it would be null.
    """
    parent, node = find(text, keys)
    lines = re.findall(r".*\n|.+", text)
    first, last = extent(text, lines, parent, node)
    siblings = [item[0] if isinstance(item, tuple) else item for item in parent.value]
    if len(siblings) > 1 and siblings[-1] is node:
        while not lines[first - 1].strip():
            first -= 1
    elif len(siblings) > 1:
        while last < len(lines) and not lines[last].strip():
            last += 1
    left = "".join([*lines[:first], *lines[last:]])
    if len(siblings) == 1:
        place = find(text, keys[:-1])[1].end_mark.index
        place += text[place:].index(":") + 1
        left = left[:place] + (" {}" if isinstance(parent, MappingNode) else " []") + left[place:]
    expected = parse(text)
    del functools.reduce(operator.getitem, keys[:-1], expected)[keys[-1]]
    try:
        if parse(left) != expected:
            raise LayoutError(OTHERWISE)
    except (YAMLError, ValueError) as error:
        raise LayoutError("the rest of the file uses what stands in it (an anchor)") from error
    return left


def find(text: str, keys: Keys) -> tuple[MappingNode | SequenceNode, Node]:
    """The mapping or sequence that holds the entry at `keys`, and its key or (in a sequence) the item itself."""
    parent: Any = None
    node = key = YAML(typ="safe").compose(text)
    for part in keys:
        parent = node
        if isinstance(parent, MappingNode):
            pairs = [pair for pair in parent.value if isinstance(pair[0], ScalarNode) and pair[0].value == part]
            if not pairs:
                raise LayoutError("it is merged from another place (<<)")
            key, node = pairs[0]
        else:
            key = node = parent.value[part]
    return parent, key


def extent(text: str, lines: list[str], parent: MappingNode | SequenceNode, node: Node) -> tuple[int, int]:
    """The first line of an entry, comments right above it included, and the line after its last."""
    first = text.count("\n", 0, node.start_mark.index)
    indent = depth(lines[first])
    before = lines[first][: node.start_mark.index - sum(map(len, lines[:first]))].strip(" ")
    if parent.flow_style or before != ("" if isinstance(parent, MappingNode) else "-"):
        raise LayoutError("it is not on lines of its own")
    last = first + 1
    for place, line in enumerate(lines[first + 1 :], first + 1):
        is_item = isinstance(parent, MappingNode) and depth(line) == indent and line.lstrip(" ").startswith("- ")
        if line.strip() and not is_comment(line):
            if depth(line) <= indent and not is_item:
                break
            last = place + 1
    while last < len(lines) and is_comment(lines[last]) and depth(lines[last]) > indent:
        last += 1
    while first > 0 and is_comment(lines[first - 1]) and depth(lines[first - 1]) == indent:
        first -= 1
    return first, last


def depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def is_comment(line: str) -> bool:
    return line.lstrip(" ").startswith("#")


def replaced(text: str, change: Change) -> str:
    """The text with `change` made to its keys and values, as they are written. Read again, they must be what the same change makes of
    what they said.
    """
    spans, expected = dict[tuple[int, int], str](), []
    for keys, is_key, node in scalars(YAML(typ="safe").compose(text)):
        span = node.start_mark.index, node.end_mark.index
        word, new = text[slice(*span)], change(keys, is_key, text[slice(*span)])
        spans[span] = as_word(new) if new != word == node.value else new
        expected.append((node.tag, change(keys, is_key, node.value)))
    for (start, end), new in sorted(spans.items(), reverse=True):
        text = text[:start] + new + text[end:]
    if [(node.tag, node.value) for _, _, node in scalars(YAML(typ="safe").compose(text))] != expected:
        raise LayoutError(OTHERWISE)
    return text


def scalars(node: Node, keys: Keys = (), is_key: bool = False) -> Iterator[tuple[Keys, bool, ScalarNode]]:
    """Every word and number in what a file says, with the keys of its place, and whether it is a key."""
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield from scalars(key, (*keys, str(key.value)), is_key=True)
            yield from scalars(value, (*keys, str(key.value)))
    elif isinstance(node, SequenceNode):
        for place, item in enumerate(node.value):
            yield from scalars(item, (*keys, place))
    elif isinstance(node, ScalarNode):
        yield keys, is_key, node


def as_word(name: str) -> str:
    """In quotes, if it needs them to be a word: 2024 would be a number, and null nothing."""
    return name if parse(name) == name else f'"{name}"'
