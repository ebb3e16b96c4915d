"""Folders of labelled real text, as they are found: three layouts, one list of rows.

* `train.csv` and `test.csv` with columns `text,label` and optionally `group` (other columns are left alone);
* the same with `category` for `label`, as BANKING77 is published;
* `data_full.json` (lists of [text, label] by split) and `domains.json` (labels by domain), as CLINC150 is published.
"""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from daemon.demo.world.questions import WorldError

LABEL_NAMES = ("label", "category", "intent")
LAYOUTS = "train.csv and test.csv (columns text,label and optionally group), or data_full.json and domains.json"
MAX_FIELD = 1 << 20  # characters in one CSV field; Python's own limit is an eighth of it


@dataclass(frozen=True, slots=True)
class Row:
    """One labelled message; `group` is empty where the file names none."""

    text: str
    label: str
    group: str


@dataclass(frozen=True, slots=True)
class Rows:
    """A corpus as read: texts trimmed, nothing else decided yet."""

    train: list[Row]
    test: list[Row]


def read_corpus(folder: Path) -> Rows:
    """Read a folder in any known layout. Raises `WorldError` saying what is missing or empty."""
    if not folder.is_dir():
        raise WorldError(f"--corpus: expected a folder, got {folder}; it holds {LAYOUTS}")
    try:
        if (folder / "data_full.json").exists():
            rows = _read_json(folder)
        else:
            rows = Rows(_read_csv(folder / "train.csv"), _read_csv(folder / "test.csv"))
    except (OSError, UnicodeDecodeError, csv.Error, json.JSONDecodeError) as error:
        raise WorldError(f"--corpus {folder}: cannot be read: {error}; expected {LAYOUTS}") from error
    for name, part in (("train", rows.train), ("test", rows.test)):
        if not part:
            raise WorldError(f"--corpus {folder}: no rows with a text and a label in the {name} part")
    return rows


def _read_csv(path: Path) -> list[Row]:
    if not path.is_file():
        raise WorldError(f"--corpus: {path} is missing; expected {LAYOUTS}")
    csv.field_size_limit(MAX_FIELD)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = [name.strip().lower() for name in next(reader, list[str]())]
        label = next((name for name in LABEL_NAMES if name in header), None)
        if "text" not in header or label is None:
            raise WorldError(
                f"--corpus: {path} needs the columns text and label (and optionally group); its first line names: "
                f"{', '.join(header) or 'nothing'}"
            )
        at_text, at_label = header.index("text"), header.index(label)
        at_group = header.index("group") if "group" in header else None
        return [
            row
            for fields in reader
            if len(fields) > max(at_text, at_label)
            and (row := _row(fields[at_text], fields[at_label], _field(fields, at_group)))
        ]


def _field(fields: list[str], at: int | None) -> str:
    return fields[at] if at is not None and at < len(fields) else ""


def _read_json(folder: Path) -> Rows:
    splits = json.loads((folder / "data_full.json").read_text("utf-8"))
    domains = json.loads((folder / "domains.json").read_text("utf-8"))
    try:
        group_of = {label: group for group, labels in cast(dict[str, list[str]], domains).items() for label in labels}
        parts = cast(dict[str, list[tuple[str, str]]], splits)

        def part(*names: str) -> list[Row]:
            found = [(text, label) for name in names for text, label in parts.get(name, [])]
            return [row for text, label in found if (row := _row(text, label, group_of.get(label, "")))]

        return Rows(part("train", "val"), part("test"))
    except (AttributeError, TypeError, ValueError) as error:
        raise WorldError(
            f"--corpus {folder}: expected data_full.json as lists of [text, label] by split and domains.json as lists "
            f"of labels by domain; {error}"
        ) from error


def _row(text: str, label: str, group: str) -> Row | None:
    row = Row(" ".join(text.split()), label.strip(), group.strip())
    return row if row.text and row.label else None
