"""Every reason that can be returned has its line in the docs, and no line is about a reason that nobody can return."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from adapters.job import FailureReason
from daemon import (
    adoption,
    cycle,
    drift_policy,
    freeze,
    freeze_record,
    label_requests,
    rolling,
    routing,
    soak_task,
    stand_in,
)
from daemon.explain import cycles as told_cycles
from daemon.explain import gates
from daemon.explain.rollout_words import REASONS as ROLLOUT_WORDS
from daemon.faults import REFUSALS
from daemon.obstacles import CONTROL, DIED
from daemon.residency import NOBODY
from daemon.unanswered import REASON as UNANSWERED
from deploy import driver_errors, kill_query, rollout, shadow, verdict
from deploy.proof import ProofReason
from monitors.gate import GateReason

DOCS = Path(__file__).parents[2] / "docs"
VERDICT = (
    verdict.REASONS
    | verdict.VOID_REASONS
    | set(kill_query.HOLD_REASONS)
    | shadow.REASONS
    | soak_task.REASONS
    | {rolling.AT_WORK}
)
POLICY = (
    (cycle.REASONS - cycle.WAITS)
    | {"same_cause", label_requests.OUT_OF_REACH, UNANSWERED, *label_requests.ENDS}
    | rollout.SECONDS
    | drift_policy.PASSED_OVER
)
PEOPLE = {"approved", "promoted_by_person", "aborted_by_person", "rollback_by_person"}
SERVERS = set(driver_errors.REASONS) | {NOBODY, DIED, f"{CONTROL}…", "mended"}
PROOFS = set(get_args(ProofReason))
FREEZE = {freeze_record.LIFTED, freeze_record.OVER, freeze.LEFT, freeze_record.BEGUN, "asked_by_person"}
ROLLOUT = (
    set(rolling.REASONS)
    | (set(rollout.BEGINS) - rollout.SECONDS)
    | PEOPLE
    | {adoption.BACK_FOUND, adoption.ROUTE_FOUND}
)
TABLES = {
    "Reasons of a verdict": VERDICT,
    "What an alarm leads to": POLICY,
    "A rollout": ROLLOUT,
    "A replica, a server or an agent": SERVERS,
    "The effect proof": PROOFS,
    "The gate": set(GateReason),
    "Before a cycle begins": set(cycle.WAITS),
    "A freeze": FREEZE,
    "A cycle": set(told_cycles.REASONS),
    "A training job": set(FailureReason),
    "The route file": {routing.RESTORED, rolling.NO_ROLLOUT},
    "Who serves": set(stand_in.REASONS),
    "A command is refused": set(REFUSALS),
    "A kill query without a number": set(kill_query.MISSING),
}
"""Heading of a table to the reasons that can be met there."""


def lines() -> dict[str, list[str]]:
    """Reasons under each heading that has a table of them."""
    found: dict[str, list[str]] = {}
    for name in ("decisions.md", "reasons.md"):
        heading = ""
        for line in (DOCS / name).read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                heading = line.lstrip("# ")
            elif line.startswith("| `"):
                found.setdefault(heading, []).append(line.split("`")[1])
    return found


def everywhere() -> set[str]:
    return {reason for under in lines().values() for reason in under}


@pytest.mark.parametrize("heading", TABLES)
def test_every_reason_has_a_line(heading: str) -> None:
    """Met in several places, it stands in one of them, and the others say so."""
    missing = TABLES[heading] - everywhere()
    assert not missing, f"{heading}: docs/reasons.md has no line for {sorted(missing)}"


@pytest.mark.parametrize("heading", TABLES)
def test_every_line_has_a_reason(heading: str) -> None:
    stray = set(lines()[heading]) - TABLES[heading]
    assert not stray, f"{heading}: nobody returns {sorted(stray)}"


def test_no_reason_has_two_lines_and_every_table_is_known() -> None:
    found = lines()
    tables = {heading: under for heading, under in found.items() if "holdback" not in heading.lower()}
    assert set(tables) == set(TABLES)
    every = [reason for under in tables.values() for reason in under]
    assert len(every) == len(set(every)), sorted({r for r in every if every.count(r) > 1})


def test_every_line_says_what_happened_and_what_follows_or_is_to_be_done() -> None:
    text = (DOCS / "reasons.md").read_text(encoding="utf-8") + (DOCS / "decisions.md").read_text(encoding="utf-8")
    for line in (one for one in text.splitlines() if one.startswith("| `")):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert len(cells) == 3 and all(cells), line


def test_what_a_rollout_waits_for_or_ends_with_has_words_in_why_as_well() -> None:
    assert rolling.REASONS - set(ROLLOUT_WORDS) == set()
    assert PROOFS - {"proved"} - set(ROLLOUT_WORDS) == set()
    assert (SERVERS - {f"{CONTROL}…", "mended"}) - set(ROLLOUT_WORDS) == set()
    assert set(gates.WORDS) == set(GateReason)
