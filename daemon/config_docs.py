"""The config as a file that explains itself: every field with the sentence that stands below it in its model.

Sections lie beside their owners, who document fields with a string below each; those strings are read from the source.
"""

from __future__ import annotations

import ast
import inspect
import itertools
import textwrap
from collections.abc import Mapping
from typing import Any, cast

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from daemon.config_errors import section_in

WIDTH = 118


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Field to its documentation, from the description or the string below the field; base classes included."""
    docs: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, BaseModel) and owner is not BaseModel:
            docs |= _strings_below(owner)
    docs |= {name: field.description for name, field in model.model_fields.items() if field.description}
    return docs


def _strings_below(owner: type) -> dict[str, str]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    docs: dict[str, str] = {}
    for statement, below in itertools.pairwise(body):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            docs[statement.target.id] = inspect.cleandoc(below.value.value).replace("``", "`")
    return docs


def render(model: type[BaseModel], chosen: Mapping[str, Any], indent: int = 0) -> str:
    """YAML of ``model``: chosen values as they are, all others with their defaults behind a ``#`` without space."""
    docs, lines = field_docs(model), list[str]()
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            if indent == 0:
                lines.append("")
            lines += _comment(inspect.getdoc(annotation) or "", indent)
            lines.append(f"{' ' * indent}{name}:")
            lines.append(render(annotation, cast("Mapping[str, Any]", chosen.get(name, {})), indent + 2))
            continue
        lines += _comment(docs.get(name, ""), indent)
        item = section_in(annotation)
        if item is not None:
            lines += [line for key, text in field_docs(item).items() for line in _comment(f"{key}: {text}", indent)]
        lines += _value(name, field, chosen, indent)
    return "\n".join(lines)


def _comment(text: str, indent: int) -> list[str]:
    prefix = " " * indent + "# "
    paragraph = " ".join(text.split("\n\n")[0].split()).replace("``", "`")
    return textwrap.wrap(paragraph, WIDTH, initial_indent=prefix, subsequent_indent=prefix)


def _value(name: str, field: FieldInfo, chosen: Mapping[str, Any], indent: int) -> list[str]:
    given = name in chosen
    value = chosen[name] if given else field.get_default(call_default_factory=True)
    text = yaml.safe_dump({name: _plain(value)}, default_flow_style=False, sort_keys=False, width=WIDTH).rstrip("\n")
    prefix = " " * indent + ("" if given else "#")
    return [prefix + line for line in text.splitlines()]


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, tuple | list):
        return [_plain(item) for item in cast("list[Any]", value)]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else str(value)
