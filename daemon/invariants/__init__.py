"""What must hold at every instant, as pure functions over a snapshot of facts; each has the name that the design gives.

A checker that looks away is worse than none: an ordering bug that two invariants never saw was found by four in every
second run. So they are reviewed like the daemon itself, and for each there is a planted bug that it must catch.

Two of the design speak of what no episode has, bytes on disks and text of tenants: ``HELD_ELSEWHERE`` names the tests
that hold them. Of T1 its second half waits for a verb: nothing forgets a user by name yet, and whatever will has his
exchanges in the selection's ``excluded``, as suspended ones are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from daemon.invariants import of_decisions, of_events, of_progress, of_routes, of_weight
from daemon.invariants.facts import (
    AGAIN,
    ASKED,
    CALM,
    COMMITTED,
    REPLICAS,
    ROWS,
    SERVED,
    TICKED,
    WRITTEN,
    Asked,
    Events,
    Facts,
    Logged,
    Served,
    Serving,
    Written,
)
from daemon.invariants.of_progress import CALM_S


@dataclass(frozen=True, slots=True)
class Invariant:
    """``check`` yields one line for each thing that is wrong. It is pure, so that it is asked again only when something
    that it ``reads`` has changed: a sum of the parts of ``daemon.invariants.facts``.
    """

    name: str
    statement: str
    check: Callable[[Facts], Iterable[str]]
    reads: int


@dataclass(frozen=True, slots=True)
class Broken:
    """An invariant that does not hold, and how."""

    name: str
    statement: str
    detail: str


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """An invariant that episodes cannot play, and the tests that hold it, as ``file::function``."""

    statement: str
    tests: tuple[str, ...]


_ROUTED: Final = WRITTEN | ROWS

INVARIANTS: Final = (
    Invariant(
        "E1", "every event below the committed offset is stored or dead-lettered once", of_events.stored_once, COMMITTED
    ),
    Invariant("E2", "each event counts once in each counter, detector and unit", of_events.counted_once, COMMITTED),
    Invariant("E3", "redelivery and restart give identical state", of_events.same_again, AGAIN),
    Invariant(
        "E4",
        "offsets lost to retention are a recorded gap, once, and never silent",
        of_events.losses_recorded,
        COMMITTED,
    ),
    Invariant(
        "A1",
        "weight only for what has digest, base, gate and proofs on record",
        of_weight.recorded_before_weight,
        WRITTEN | SERVED | TICKED,
    ),
    Invariant("A3", "a replica without the proved champion is not ready", of_weight.ready_with_champion, REPLICAS),
    Invariant(
        "R1",
        "one active rollout, one writer epoch that only rises",
        of_routes.one_rollout_one_epoch,
        _ROUTED | REPLICAS,
    ),
    Invariant("R2", "no active rollout, no canary weight", of_routes.weight_only_in_a_rollout, _ROUTED),
    Invariant(
        "R3",
        "a resident rollback target exists on every replica that serves",
        of_routes.a_way_back_is_resident,
        _ROUTED | REPLICAS,
    ),
    Invariant(
        "R4",
        "what was rolled back is never routed again, nor what learned from it",
        of_routes.never_again,
        _ROUTED | TICKED,
    ),
    Invariant(
        "R5", "every transition is in the table, and the ledger replays to the rows", of_decisions.by_the_table, _ROUTED
    ),
    Invariant("R6", "missing data never promotes", of_decisions.data_before_promotion, ROWS),
    Invariant("L1", "after faults stop, lag falls and nothing outlives its deadline", of_progress.moves_on, CALM),
    Invariant(
        "L2", "a rollback issued at any instant completes unless every replica is down", of_progress.rolls_back, ASKED
    ),
)
HELD_ELSEWHERE: Final[Mapping[str, Elsewhere]] = MappingProxyType(
    {
        "A2": Elsewhere(
            "the served bytes equal the manifest",
            (
                "tests/adapters/test_file_checks.py::test_changed_bytes_are_noticed_by_the_digest",
                "tests/adapters/test_demonstrations.py::test_a_changed_folder_is_refused",
                "tests/deploy/test_agent.py::test_damaged_files_are_not_loaded",
            ),
        ),
        "T1": Elsewhere(
            "a training example's tenant is its version's tenant; forgotten users appear in no later manifest",
            (
                "tests/adapters/test_selection.py::"
                "test_other_tenants_suspended_and_empty_exchanges_are_out_with_their_reason",
                "tests/adapters/test_demonstrations.py::test_they_stand_on_an_adapter_of_the_same_tenant_that_is_here",
                "tests/daemon/store/test_versions.py::test_lineage_goes_both_ways",
            ),
        ),
    }
)
"""Invariants of the design that are none of ``INVARIANTS``."""


def broken(facts: Facts, invariants: Sequence[Invariant] = INVARIANTS) -> list[Broken]:
    """What does not hold in a snapshot, in the order of ``INVARIANTS``; what cannot have changed is not looked at."""
    changed = facts.changed
    return [
        Broken(one.name, one.statement, detail)
        for one in invariants
        if one.reads & changed
        for detail in one.check(facts)
    ]


__all__ = [
    "CALM_S",
    "HELD_ELSEWHERE",
    "INVARIANTS",
    "Asked",
    "Broken",
    "Elsewhere",
    "Events",
    "Facts",
    "Invariant",
    "Logged",
    "Served",
    "Serving",
    "Written",
    "broken",
]
