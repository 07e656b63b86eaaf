"""Entries of a YAML file as its lines: one is taken out, or words are replaced, and every other byte stays as it is.

ruamel only says where things are. What comes out is read again, and refused unless it says what it should: YAML that is laid out in
a way that is not expected here (an entry that shares its line with another, or an anchor that others use) is left to a person.
"""

import copy
import re
from collections.abc import Callable, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Key = str | int
Keys = Sequence[Key]


class LayoutError(Exception):
    """The file cannot be edited by lines. The message is the reason, to go on from in a sentence."""


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
    is_only = len(parent.value) == 1
    is_last = parent.value[-1] is node or (isinstance(parent.value[-1], tuple) and parent.value[-1][0] is node)
    if is_last and not is_only:
        while not lines[first - 1].strip():
            first -= 1
    else:
        while last < len(lines) and not lines[last].strip() and not is_only:
            last += 1
    left = "".join([*lines[:first], *lines[last:]])
    if is_only:
        place = find(text, keys[:-1])[1].end_mark.index
        place += text[place:].index(":") + 1
        left = left[:place] + (" {}" if isinstance(parent, MappingNode) else " []") + left[place:]
    expected = copy.deepcopy(parse(text))
    del part_of(expected, keys[:-1])[keys[-1]]
    return confirmed(left, expected)


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
    before = lines[first][: node.start_mark.index - len("".join(lines[:first]))]
    if parent.flow_style or before.strip(" ") not in ("", "-") or (before.strip(" ") == "-") == isinstance(parent, MappingNode):
        raise LayoutError("it is not on lines of its own")
    last = place = first + 1
    while place < len(lines):
        line = lines[place]
        is_item = isinstance(parent, MappingNode) and depth(line) == indent and line.lstrip(" ").startswith("- ")
        if line.strip() and not is_comment(line):
            if depth(line) <= indent and not is_item:
                break
            last = place + 1
        place += 1
    while last < len(lines) and is_comment(lines[last]) and depth(lines[last]) > indent:
        last += 1
    while first > 0 and is_comment(lines[first - 1]) and depth(lines[first - 1]) == indent:
        first -= 1
    return first, last


def depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def is_comment(line: str) -> bool:
    return line.lstrip(" ").startswith("#")


def replaced(text: str, change: Callable[[tuple[Key, ...], bool, str], str], expected: Any) -> str:
    """The text with `change` made to its keys and values that are words or numbers.

    `change` gets the keys of the place (a key's own are the last), whether it is a key, and the word as it is written.
    `expected` is what the result must say.
    """
    spans = dict[tuple[int, int], str]()

    def walk(node: Node, keys: tuple[Key, ...], is_key: bool = False) -> None:
        if isinstance(node, MappingNode):
            for key, value in node.value:
                walk(key, (*keys, str(key.value)), is_key=True)
                walk(value, (*keys, str(key.value)))
        elif isinstance(node, SequenceNode):
            for place, item in enumerate(node.value):
                walk(item, (*keys, place))
        else:
            start, end = node.start_mark.index, node.end_mark.index
            spans[start, end] = change(keys, is_key, text[start:end])

    walk(YAML(typ="safe").compose(text), ())
    for (start, end), new in sorted(spans.items(), reverse=True):
        text = text[:start] + new + text[end:]
    return confirmed(text, expected)


def as_word(name: str) -> str:
    """In quotes, if it needs them to be a word: 2024 would be a number, and null nothing."""
    return name if parse(name) == name else f'"{name}"'


def confirmed(text: str, expected: Any) -> str:
    try:
        said = parse(text)
    except (YAMLError, ValueError) as error:
        raise LayoutError("the rest of the file uses what stands in it (an anchor)") from error
    if said != expected:
        raise LayoutError("it is laid out in a way that cannot be edited line by line")
    return text


def part_of(data: Any, keys: Keys) -> Any:
    for key in keys:
        data = data[key]
    return data
