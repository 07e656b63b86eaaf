"""Edits a YAML file by its lines: an entry is added or taken out, or a word replaced, and every other byte stays as it is.

ruamel only says where things are. What comes out is read again, and refused unless it says what it should: YAML that is laid out in
a way that is not expected here (an entry that shares its line with another, or an anchor that others use) is left to a person.
"""

import functools
import operator
import re
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from stages.shell.errors import UserError

Keys = tuple[str | int, ...]


class LayoutError(UserError):
    """What is at `keys` cannot be edited by lines; `why` is a part of a sentence."""

    def __init__(self, keys: Keys, why: str):
        what = ".".join(map(str, keys))
        super().__init__(f"{what} cannot be changed by this command, since {why}: do that by hand, and run this again for the rest.")


def parse(text: str) -> Any:
    """What a YAML text says, as DVC reads it (YAML 1.2). Raises YAMLError or ValueError where it is not YAML."""
    return YAML(typ="safe").load(text)


def without(text: str, keys: Keys) -> str:
    """The text without the entry at `keys`, the comments right above it and the blank lines that set it apart.

    A section that is empty then gets {} or [], since without them it would be null.
    """
    parent, node, _ = find(text, keys)
    lines, start = re.findall(r".*\n|.+", text), node.start_mark.index
    is_mapping, before = isinstance(parent, MappingNode), text[:start].rpartition("\n")[2]
    if parent.flow_style or before.strip(" ") != ("" if is_mapping else "-"):
        raise LayoutError(keys, "it is not on lines of its own")
    first, last = extent(lines, text.count("\n", 0, start), is_mapping)
    siblings = [item[0] if isinstance(item, tuple) else item for item in parent.value]
    if len(siblings) > 1 and siblings[-1] is node:
        while not lines[first - 1].strip():
            first -= 1
    elif len(siblings) > 1:
        while last < len(lines) and not lines[last].strip():
            last += 1
    left = "".join([*lines[:first], *lines[last:]])
    if len(siblings) == 1:
        place = text.index(":", find(text, keys[:-1])[1].end_mark.index) + 1
        left = left[:place] + (" {}" if is_mapping else " []") + left[place:]
    expected = parse(text)
    del functools.reduce(operator.getitem, keys[:-1], expected)[keys[-1]]
    return checked(left, expected, keys)


def added(text: str, section: str, name: str, entry: str) -> str:
    """The text with `entry`, lines of YAML that begin with `name:` and are not indented, as the last of a section."""
    _, _, value = find(text, (section,))
    lines = re.findall(r".*\n|.+", text)
    if not isinstance(value, MappingNode) or (value.flow_style and value.value):
        raise LayoutError((section, name), f"{section} is not a section with a line for each entry")
    if value.value:
        first = lines[value.value[-1][0].start_mark.line]
        indent, place = " " * depth(first), extent(lines, value.value[-1][0].start_mark.line, True)[1]
    else:  # {}
        indent, place = "  ", value.end_mark.line + 1
        lines[place - 1] = lines[place - 1][: value.start_mark.column].rstrip(" ") + lines[place - 1][value.end_mark.column :]
    if lines[place - 1][-1] != "\n":
        lines[place - 1] += "\n"
    block = "".join(f"{indent}{line}\n" for line in entry.splitlines())
    expected = parse(text)
    expected[section][name] = parse(entry)[name]
    return checked("".join([*lines[:place], block, *lines[place:]]), expected, (section, name))


def extent(lines: list[str], first: int, is_mapping: bool) -> tuple[int, int]:
    """The first line of the entry that begins in the line `first`, comments right above it included, and the line after its last."""
    indent, last = depth(lines[first]), first + 1
    for place, line in enumerate(lines[first + 1 :], first + 1):
        is_item = is_mapping and depth(line) == indent and line.lstrip(" ").startswith("- ")
        if line.strip() and not is_comment(line):
            if depth(line) <= indent and not is_item:
                break
            last = place + 1
    while last < len(lines) and is_comment(lines[last]) and depth(lines[last]) > indent:
        last += 1
    while first > 0 and is_comment(lines[first - 1]) and depth(lines[first - 1]) == indent:
        first -= 1
    return first, last


def replaced(text: str, keys: Keys, word: str, *, is_key: bool = False) -> str:
    """The text with `word` for the value at `keys`, or for its key."""
    _, key, value = find(text, keys)
    node, expected = key if is_key else value, parse(text)
    start, end = node.start_mark.index, node.end_mark.index
    holder = functools.reduce(operator.getitem, keys[:-1], expected)
    holder[word if is_key else keys[-1]] = holder.pop(keys[-1]) if is_key else word
    plain = word if parse(word) == word else f'"{word}"'  # 2024 would be a number, and null nothing
    new = plain if text[start:end] == node.value else text[start:end].replace(node.value, word)
    return checked(text[:start] + new + text[end:], expected, keys)


def checked(text: str, expected: Any, keys: Keys) -> str:
    """The text, edited at `keys`, if it says what is expected of it."""
    try:
        if parse(text) == expected:
            return text
    except (YAMLError, ValueError) as error:
        raise LayoutError(keys, "the rest of the file uses what stands in it (an anchor)") from error
    raise LayoutError(keys, "it is laid out in a way that cannot be edited line by line")


def find(text: str, keys: Keys) -> tuple[MappingNode | SequenceNode, Node, Node]:
    """The mapping or sequence that holds the entry at `keys`, its key (in a sequence the item itself), and its value."""
    parent: Any = None
    node = key = YAML(typ="safe").compose(text)
    for part in keys:
        parent = node
        if isinstance(parent, MappingNode):
            pairs = [pair for pair in parent.value if pair[0].value == part]
            if not pairs:
                raise LayoutError(keys, "it is merged from another place (<<)")
            key, node = pairs[0]
        else:
            key = node = parent.value[part]
    return parent, key, node


def depth(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def is_comment(line: str) -> bool:
    return line.lstrip(" ").startswith("#")


def flow(name: str, values: dict[str, Any]) -> str:
    """Lines of YAML, a key a line, with what a key holds on its line."""
    return "\n".join([f"{name}:", *(f"  {key}: {in_line(value)}" for key, value in values.items())])


def in_line(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {in_line(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(in_line, value)) + "]"
    if isinstance(value, str):
        plain = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_ ./-]*", value) and YAML(typ="safe").load(value) == value
        return value if plain else '"' + "".join(escape(one) for one in value) + '"'
    return {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)


def escape(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character == "\t":
        return "\\t"
    return character if character.isprintable() else f"\\U{ord(character):08x}"


def indented(entry: str) -> str:
    return "\n".join(f"  {line}" for line in entry.splitlines())
