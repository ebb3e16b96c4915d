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
CAUSES: Final = frozenset({"cause", "alarm", "cycle", "buffer", "job"})
"""The ones among them that a thing came from."""
OWN: Final = frozenset({"candidate", "version"})
"""An entry that names a version so is about that version."""
LONGEST: Final = 200
REASON: Final = re.compile(r"^[a-z0-9_.:-]{1,100}$")
DEEPEST: Final = 5


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
    """The story of an id, oldest first: entries about it, entries that name it, and the causes of those.

    From there only causes are followed (version to buffer to cycle to alarm, and a version to its own rollouts): a
    champion that is named in passing has a story of its own.
    """
    first = rows.of_subject(read, subject, limit)
    found = {entry.id: entry for entry in first}
    seen, frontier = {subject}, {one for entry in first for one in _causes(entry, subject)}
    for _ in range(DEEPEST):
        frontier -= seen
        if not frontier or len(found) >= limit:
            break
        entries = [entry for one in sorted(frontier) for entry in rows.about(read, one, limit)]
        seen |= frontier
        found |= {entry.id: entry for entry in entries}
        frontier = {one for entry in entries for one in _causes(entry, subject)}
    return [found[one] for one in sorted(found)][-limit:]


def _causes(entry: Entry, subject: str) -> set[str]:
    """Ids that an entry leads back to."""
    causes = {str(value) for key, value in entry.data.items() if key in CAUSES and value}
    if any(entry.data.get(key) == subject for key in OWN):
        causes.add(entry.subject)
    return causes


def _refuse_text(value: Any, where: str) -> None:
    if value is None or isinstance(value, (int, float)):
        return
    if isinstance(value, str):
        if len(value) > LONGEST or "\n" in value:
            raise LedgerTextError(
                f"{where}: the ledger holds ids, digests, numbers and reasons, got text of {len(value)}"
            )
    elif isinstance(value, Mapping):
        for key, inner in cast("Mapping[str, Any]", value).items():
            if inner is not None and not isinstance(inner, (int, float)):
                _refuse_text(inner, f"{where}.{key}")
    elif isinstance(value, Sequence) and not isinstance(value, bytes):
        for number, inner in enumerate(cast("Sequence[Any]", value)):
            _refuse_text(inner, f"{where}.{number}")
