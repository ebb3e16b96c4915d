"""The buffer on disk, between selection and trainer: JSON Lines in a folder named by the selection's digest.

<root>/<digest>/new.jsonl       {"id", "messages": [{"role", "content"}], "target", "weight"}
                replay.jsonl    the same; target is the champion's own reply
                anchors.jsonl   the same; target is the operator's reply
                holdout.jsonl   {"id", "side": old | new, "messages", "expected", "reply", "version", "labelled"}
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, cast

from adapters.durable import sync_folder, write_file
from adapters.holdout import Question
from adapters.selection import Selection
from streams.events import Message

ROLES: Final = ("new", "replay", "anchors")


class BufferUnusable(ValueError):
    """A buffer's folder is not what selection wrote; the message names file and line."""


@dataclass(frozen=True, slots=True)
class Row:
    """One training example."""

    row_id: str
    messages: tuple[Message, ...]
    target: str
    weight: float


@dataclass(frozen=True, slots=True)
class Buffer:
    """What a trainer reads."""

    new: tuple[Row, ...]
    replay: tuple[Row, ...]
    anchors: tuple[Row, ...]


def _messages(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in messages]


def _lines(rows: Iterable[object]) -> bytes:
    return "".join(json.dumps(r, ensure_ascii=False, separators=(",", ":")) + "\n" for r in rows).encode()


def _question(side: Literal["old", "new"], q: Question) -> dict[str, object]:
    return {
        "id": q.exchange_id,
        "side": side,
        "messages": _messages(q.messages),
        "expected": q.expected,
        "reply": q.reply,
        "version": q.version,
        "labelled": q.labelled,
    }


def write_buffer(root: Path, selection: Selection) -> Path:
    """Write a selection's files and return their folder; the same selection is written once. Raises OSError."""
    folder = root / selection.digest
    if folder.is_dir():
        return folder
    partial = root / f".{selection.digest}.{os.getpid()}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    contents: dict[str, list[object]] = {
        "new": [
            {"id": e.exchange_id, "messages": _messages(e.messages), "target": e.target, "weight": e.weight}
            for e in selection.new
        ],
        "replay": [
            {"id": e.exchange_id, "messages": _messages(e.messages), "target": e.reply, "weight": 1.0}
            for e in selection.replay
        ],
        "anchors": [
            {"id": a.anchor_id, "messages": [{"role": "user", "content": a.prompt}], "target": a.reply, "weight": 1.0}
            for a in selection.anchors
        ],
        "holdout": [
            *(_question("old", q) for q in selection.holdout_old),
            *(_question("new", q) for q in selection.holdout_new),
        ],
    }
    for name, rows in contents.items():
        write_file(partial / f"{name}.jsonl", _lines(rows), mode=0o600)
    os.replace(partial, folder)
    sync_folder(root)
    return folder


def _row(line: str, where: str) -> Row:
    try:
        fields = cast("dict[str, Any]", json.loads(line))
        messages = tuple(Message(role=m["role"], content=m["content"]) for m in fields["messages"])
        row = Row(str(fields["id"]), messages, fields["target"], float(fields["weight"]))
    except (ValueError, KeyError, TypeError) as error:
        raise BufferUnusable(f"{where}: expected id, messages, target and weight: {error}") from error
    if not isinstance(cast("object", row.target), str) or not messages:
        raise BufferUnusable(f"{where}: expected a target text and at least one message")
    return row


def read_buffer(folder: Path) -> Buffer:
    """What `write_buffer` wrote for training. Raises BufferUnusable."""
    parts: dict[str, tuple[Row, ...]] = {}
    for role in ROLES:
        path = folder / f"{role}.jsonl"
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BufferUnusable(f"cannot read {path}: {error}") from error
        parts[role] = tuple(_row(line, f"{path}:{n}") for n, line in enumerate(text.split("\n"), 1) if line)
    return Buffer(parts["new"], parts["replay"], parts["anchors"])
