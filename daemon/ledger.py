"""The ledger: what was decided, about what, by whom and why. It holds ids, digests, numbers and reasons; never text.

Ids in ``data`` become references, so that the story of a version contains its gate, its rollout and the alarm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from daemon.store import Read, Tx
from daemon.store import ledger as rows
from daemon.store.ledger import Entry

REFERENCES: Final = frozenset(
    {
        "version",
        "candidate",
        "control",
        "champion",
        "previous",
        "parent",
        "from",
        "to",
        "rollout",
        "cycle",
        "alarm",
        "cause",
        "buffer",
        "job",
        "exchange",
    }
)
"""Keys of ``data`` whose values are ids of other things."""
LONGEST: Final = 200
REASON: Final = re.compile(r"^[a-z0-9_.:-]{1,100}$")
DEEPEST: Final = 3


class LedgerTextError(ValueError):
    """Ours: somebody tried to write text into the ledger."""


def append(
    tx: Tx,
    deployment: str,
    kind: str,
    subject: str,
    reason: str,
    *,
    actor: str,
    at: float,
    data: Mapping[str, Any] | None = None,
    note: str = "",
) -> int:
    """Record a decision; the entry's id.

    ``reason`` is a named reason in snake case; ``note`` is what an operator gave with ``--reason``, cut to 200
    characters.
    Raises LedgerTextError for a reason that is prose, or data with long or multi-line strings.
    """
    if not REASON.match(reason):
        raise LedgerTextError(f"ledger reason must be a name such as gate_passed, got {reason[:LONGEST]!r}")
    values = dict(data or {})
    if note:
        values["note"] = " ".join(note.split())[:LONGEST]
    _refuse_text(values, "data")
    refs = {str(value) for key, value in values.items() if key in REFERENCES and value}
    return rows.append(
        tx,
        at=at,
        deployment=deployment,
        subject=subject,
        kind=kind,
        reason=reason,
        actor=actor,
        data=values,
        refs=refs,
    )


def why(read: Read, subject: str, limit: int = 1000) -> list[Entry]:
    """The story of an id, oldest first: entries about it, entries that name it, and what those name, three steps far.

    A step leads from an entry to the things it names (a rollout to its candidate, a candidate to its buffer), so the
    story of a version reaches the alarm that began it.
    """
    found: dict[int, Entry] = {}
    seen, frontier = set[str](), {subject}
    for _ in range(DEEPEST):
        entries: dict[int, Entry] = {}
        for one in sorted(frontier):
            entries |= {entry.id: entry for entry in rows.of_subject(read, one, limit)}
        found |= entries
        seen |= frontier
        # Only what the entries are about leads further: a champion named in passing has a story of its own.
        named = rows.refs_of(read, list(entries)) | {entry.subject for entry in entries.values()}
        frontier = {one for one in named if one not in seen and not _common(read, one, limit)}
        if not frontier or len(found) >= limit:
            break
    return [found[one] for one in sorted(found)][-limit:]


def _common(read: Read, subject: str, limit: int) -> bool:
    """Whether an id is in so many entries (the deployment, a long-lived champion) that it would swamp a story."""
    return len(rows.of_subject(read, subject, 51)) > 50 or limit <= 0


def _refuse_text(value: Any, where: str) -> None:
    if isinstance(value, str):
        if len(value) > LONGEST or "\n" in value:
            raise LedgerTextError(
                f"{where}: the ledger holds ids, digests, numbers and reasons, got text of {len(value)}"
            )
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            _refuse_text(inner, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for number, inner in enumerate(cast("Sequence[Any]", value)):
            _refuse_text(inner, f"{where}.{number}")
