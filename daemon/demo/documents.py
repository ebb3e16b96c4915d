"""JSON documents of the daemon, read defensively: what is absent or of another kind is empty, never an exception."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

Json = dict[str, Any]


def part(document: Mapping[str, Any] | None, key: str) -> Json:
    """An object within a document; the empty one when there is none."""
    value = document.get(key) if document is not None else None
    return cast("Json", value) if isinstance(value, dict) else {}


def listed(document: Any, key: str) -> list[Json]:
    """The objects of a list document, bare or under its key."""
    found: Any = cast("Json", document).get(key) if isinstance(document, dict) else document
    if not isinstance(found, list):
        return []
    return [cast("Json", row) for row in cast("list[Any]", found) if isinstance(row, dict)]


def number(document: Mapping[str, Any], key: str) -> float | None:
    """A number within a document, or None; true and false are no numbers."""
    value = document.get(key)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def integer(document: Mapping[str, Any], key: str) -> int | None:
    """A whole number within a document, or None."""
    value = document.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
