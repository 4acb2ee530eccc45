"""What a node shows, for tests of what the page is made of."""

from collections.abc import Iterator
from typing import Any

from peekaping_producer.ui.rendering.nodes import Node


def text_of(node: Node) -> str:
    """The visible text, without attributes; a space between the cells and rows of parts."""
    return "".join(_texts(node))


def named(node: Node, name: str) -> list[list[Any]]:
    """The elements within the node whose name, classes included, is this."""
    return [found for found in _elements(node) if found[0] == name]


def attributes(node: list[Any]) -> dict[str, Any]:
    """Those of an element."""
    return node[1] if len(node) > 1 and isinstance(node[1], dict) else {}


def rows_of(node: Node) -> dict[str, str]:
    """The names and the texts of all pairs within the node."""
    return {row[0]: text_of(row[1]) for part in named(node, "Pairs") for row in part[2]}


def _children(node: list[Any]) -> list[Node]:
    """Of an element, and of the parts that contain nodes."""
    name, *rest = node
    match name:
        case "Table":
            return [*(heading for heading, *_ in rest[1]), *(cell for row in rest[2] for cell in row)]
        case "Pairs":
            return [part for row in rest[1] for part in row[:2]]
        case "Log":
            return [part for clock, kind, _, *more in rest[0] for part in (clock, kind, *more)]
        case "Link":
            return [rest[1]]
        case "Spark" | "Stack" | "Slot":
            return []
    return [child for child in rest if not isinstance(child, dict)]


def _texts(node: Node) -> Iterator[str]:
    if isinstance(node, list):
        is_part = node[0][:1].isupper() and node[0] != "Link"
        for child in _children(node):
            yield from _texts(child)
            yield " " if is_part else ""
    elif node not in (None, False):
        yield f"{node}"


def _elements(node: Node) -> Iterator[list[Any]]:
    if isinstance(node, list):
        yield node
        for child in _children(node):
            yield from _elements(child)
