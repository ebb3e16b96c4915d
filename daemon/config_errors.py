"""From a validation error to lines that a person can act on: file and line, key, what was expected, what came."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Location = Sequence[int | str]


def explain(error: ValidationError, model: type[BaseModel], text: str, path: Path) -> str:
    """One line for each mistake in ``text``, in the order of the file."""
    root = yaml.compose(text)
    lines = [(line_of(root, d["loc"]), _one(d, model)) for d in error.errors(include_url=False)]
    lines.sort(key=lambda found: found[0])
    return "\n".join(f"{path}:{number}: {message}" if number else f"{path}: {message}" for number, message in lines)


def _one(detail: ErrorDetails, model: type[BaseModel]) -> str:
    location = detail["loc"]
    dotted = ".".join(str(part) for part in location) or "the file"
    if detail["type"] == "extra_forbidden":
        return f"{dotted}: unknown key. {suggest(str(location[-1]), fields_at(model, location[:-1]))}"
    if detail["type"] == "missing":
        return f"{dotted}: missing: this key has no default"
    problem = detail["msg"].removeprefix("Value error, ")
    if not location:
        return problem
    expected = problem.removeprefix("Input should be ").removeprefix("a valid ")
    return f"{dotted}: expected {expected}, got {short(detail['input'])}"


def suggest(key: str, valid: Sequence[str]) -> str:
    """The nearest valid key, else all of them."""
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.6)
    return f"Did you mean `{near[0]}`?" if near else f"Valid here: {', '.join(valid) or 'nothing'}."


def fields_at(model: type[BaseModel], location: Location) -> list[str]:
    """Names of the fields of the section at ``location`` (list positions included)."""
    found: type[BaseModel] | None = model
    for part in location:
        if isinstance(part, int) or found is None:
            continue
        field = found.model_fields.get(part)
        found = section_in(field.annotation) if field is not None else None
    return list(found.model_fields) if found is not None else []


def section_in(annotation: Any) -> type[BaseModel] | None:
    """The section model inside an annotation such as ``tuple[ReplicaConfig, ...]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := section_in(inner)) is not None), None)


def short(value: object) -> str:
    """What came, cut to one line."""
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def line_of(node: yaml.Node | None, location: Location) -> int:
    """Line (from 1) of the deepest part of ``location`` that is in the file; 0 when none of it is."""
    line = 0
    for part in location:
        if isinstance(node, yaml.MappingNode):
            pair = next(((k, v) for k, v in node.value if k.value == part), None)
            if pair is None:
                return line
            line, node = pair_line(pair[0]), pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = pair_line(node)
    return line


def pair_line(node: yaml.Node | None) -> int:
    """Line (from 1) at which a node starts."""
    return node.start_mark.line + 1 if node is not None and node.start_mark is not None else 0
