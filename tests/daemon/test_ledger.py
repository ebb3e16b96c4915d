"""The ledger: never text, and stories that lead to causes without wandering off."""

from __future__ import annotations

from typing import Any

import pytest

from daemon import ledger
from daemon.store import Store
from daemon.store import ledger as rows

SAY: dict[str, Any] = {"actor": "controller", "at": 1.0}


@pytest.mark.parametrize(
    "data",
    [{"detail": "a" * 201}, {"detail": "two\nlines"}, {"nested": {"list": ["a" * 300]}}],
)
def test_text_is_refused(store: Store, data: dict[str, Any]) -> None:
    with store.begin() as tx, pytest.raises(ledger.LedgerTextError):
        ledger.append(tx, "support", "gate", "v1", "passed", data=data, **SAY)


def test_a_reason_is_a_name(store: Store) -> None:
    with store.begin() as tx, pytest.raises(ledger.LedgerTextError, match="must be a name"):
        ledger.append(tx, "support", "gate", "v1", "It went well.", **SAY)


def test_an_operators_note_is_cut_to_one_line(store: Store) -> None:
    with store.begin() as tx:
        ledger.append(tx, "support", "rollback", "v1", "operator", note="odd replies\nsince noon " + "x" * 500, **SAY)
        (entry,) = rows.newest(tx, 5)
    assert entry.data["note"].startswith("odd replies since noon x") and len(entry.data["note"]) == 200


def test_the_story_of_a_version_leads_to_its_alarm_and_not_to_its_champions_life(store: Store) -> None:
    entries: list[tuple[str, str, str, dict[str, Any]]] = [
        ("alarm", "a0", "confirmed", {}),
        ("cycle", "c0", "alarm", {"alarm": "a0"}),
        ("version", "v0", "trained", {"cycle": "c0"}),
        ("promotion", "v0", "better", {}),
        ("alarm", "a1", "confirmed", {}),
        ("cycle", "c1", "alarm", {"alarm": "a1"}),
        ("version", "v1", "trained", {"buffer": "d1", "cycle": "c1", "champion": "v0"}),
        ("rollout", "r1", "gate_passed", {"candidate": "v1", "control": "v0", "cause": "a1"}),
        ("rollout", "r1", "harm", {"e": 21.5}),
    ]
    with store.begin() as tx:
        for kind, subject, reason, data in entries:
            ledger.append(tx, "support", kind, subject, reason, data=data, **SAY)
    with store.read() as read:
        story = [(entry.subject, entry.reason) for entry in ledger.why(read, "v1")]
        assert story == [
            ("a1", "confirmed"),
            ("c1", "alarm"),
            ("v1", "trained"),
            ("r1", "gate_passed"),
            ("r1", "harm"),
        ]
        # Who named v0 in passing is told once; what became of r1 is not v0's story.
        assert ("r1", "harm") not in [(entry.subject, entry.reason) for entry in ledger.why(read, "v0")]
        assert ledger.why(read, "nothing") == []
        assert [entry.subject for entry in rows.after(read, 7, 10)] == ["r1", "r1"]
