"""Bugs to plant, by the invariant that must catch each: a checker that never fails proves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Final

import pytest

import daemon.adoption
import daemon.holdback
import daemon.ingest
import daemon.intake
import daemon.live_evidence
import daemon.rollback
import daemon.rolling
import daemon.rollout_start
import daemon.standing
import daemon.way_back
import tests.episodes.host
import tests.episodes.world
from daemon.holdback import Holding
from daemon.ingest import Ingest
from daemon.residency import Residence, Residency
from daemon.residents import Residents
from daemon.rolling import Rolling
from daemon.routing import Overtaken, Routing
from daemon.sections import HoldbackConfig
from daemon.standing import standing
from daemon.store import rollouts
from deploy.driver_errors import StaleRoute
from deploy.rollout import Phase, RolloutConfig, Signal
from deploy.verdict import Judgement
from monitors.gate import GateReason, GateResult
from streams.join import Joiner
from streams.log import Gap
from tests.episodes.played import Gate

Plant = Callable[[pytest.MonkeyPatch], None]
PLANTED: Final[dict[str, tuple[str, Plant]]] = {}


def plant(invariant: str) -> Callable[[Plant], Plant]:
    """A bug that this invariant must see."""

    def keep(bug: Plant) -> Plant:
        PLANTED[bug.__name__] = (invariant, bug)
        return bug

    return keep


def nothing(*_args: Any, **_more: Any) -> None:
    """Does nothing."""


def always(value: Any) -> Callable[..., Any]:
    """Answers with one value whatever it is asked."""

    def answer(*_args: Any, **_more: Any) -> Any:
        return value

    return answer


@plant("E1")
def a_batch_that_failed_is_not_read_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ingest, "_begin", getattr(Ingest, "_restore"))  # noqa: B009


@plant("E2")
def a_duplicate_counts_again(patch: pytest.MonkeyPatch) -> None:
    honest: Any = daemon.intake.insert_new

    def insert(tx: Any, decoded: Any) -> Any:
        _, said, first = honest(tx, decoded)
        return {d.event_id for d in decoded}, said, first

    patch.setattr(daemon.ingest, "insert_new", insert)


@plant("E3")
def a_seen_feedback_is_new_to_a_joiner(patch: pytest.MonkeyPatch) -> None:
    insert: Any = daemon.ingest.feedback.insert_new

    def every(tx: Any, said: Any) -> set[str]:
        return insert(tx, said) | {f.feedback_id for f in said}

    patch.setattr(daemon.ingest.feedback, "insert_new", every)
    patch.setattr(Joiner, "_remember", always(True))


@plant("E3")
def a_restart_forgets_the_order_of_units(patch: pytest.MonkeyPatch) -> None:
    honest: Any = daemon.live_evidence.Evidence.restore

    def restore(
        rollout: Any, config: Any, bounds: Any, in_slice: Any, units: Any, events: Any, *rest: Any, **named: Any
    ) -> Any:
        return honest(rollout, config, bounds, in_slice, units, [e for e in events if e.seq % 5], *rest, **named)

    patch.setattr(daemon.live_evidence.Evidence, "restore", restore)


@plant("E4")
def a_loss_is_passed_over_in_silence(patch: pytest.MonkeyPatch) -> None:
    def record(_self: Ingest, _tx: Any, gaps: Sequence[Gap], _now: float) -> dict[Any, int]:
        return {(gap.topic, gap.partition): gap.found for gap in gaps}

    patch.setattr(Ingest, "_record_gaps", record)


@plant("E4")
def a_loss_is_found_again_at_each_start(patch: pytest.MonkeyPatch) -> None:
    def record(tx: Any, gaps: Sequence[Gap], _at: float) -> None:
        tx.add(tx.t.gaps, *gaps)  # and where we are stays what it was

    patch.setattr(daemon.ingest.offsets, "record_gaps", record)
    patch.setattr(Ingest, "_commit", _without_gaps(getattr(Ingest, "_commit")))  # noqa: B009


def _without_gaps(honest: Any) -> Any:
    def commit(self: Ingest, tx: Any, records: Any, _passed: Any, *rest: Any) -> Any:
        return honest(self, tx, records, {}, *rest)

    return commit


@plant("E4")
def the_ledger_is_not_told_of_a_loss(patch: pytest.MonkeyPatch) -> None:
    honest = daemon.ingest.ledger.append

    def append(tx: Any, deployment: str, kind: str, *rest: Any, **more: Any) -> int:
        return 0 if kind == "event_gap" else honest(tx, deployment, kind, *rest, **more)

    patch.setattr(daemon.ingest, "ledger", SimpleNamespace(append=append))


@plant("A1")
def nothing_is_proved_before_it_gets_weight(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Residency, "everywhere", always(Residence(True, "resident")))


@plant("A1")
def a_failed_gate_passes(patch: pytest.MonkeyPatch) -> None:
    def result(self: Gate, _cycle: object, _version: str, _champion: object) -> Any:
        found = GateResult(verdict="fail", reason=GateReason.OLD_DESKS_WORSE, checks=())
        return _Lying(found)

    patch.setattr(Gate, "result", result)


class _Lying:
    """A gate's result that says another verdict than it records."""

    verdict = "pass"

    def __init__(self, found: GateResult) -> None:
        self._found = found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found, name)


@plant("A1")
def a_proof_that_the_store_did_not_take_is_taken_for_recorded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Residency, "_is_recorded", always(True))


OLDEST: Final = "support-000000000001"
"""The first of the versions that an episode finds promoted."""


def hold_back(patch: pytest.MonkeyPatch, anchor: str | None = None) -> None:
    """From now on a daemon keeps a tenth of the sessions on an anchor; None: on the identity version."""
    patch.setattr(tests.episodes.world, "HOLDBACK", HoldbackConfig(share=0.1, anchor=anchor))


@plant("A1")
def sessions_are_held_back_on_what_nobody_has(patch: pytest.MonkeyPatch) -> None:
    hold_back(patch, OLDEST)
    patch.setattr(Holding, "resident", nothing)
    patch.setattr(daemon.holdback, "_resident", always(True))


@plant("A3")
def a_gateway_is_always_ready(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tests.episodes.host, "missing_champions", always([]))


@plant("R1")
def an_agent_takes_any_epoch_from_a_writer_that_does_not_look(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(tests.episodes.host, "is_newer", always(True))
    patch.setattr(Routing, "adopt", _generation)


def _generation(self: Routing, _found: object) -> int:
    return self.generation


@plant("R1")
def a_holdback_begins_without_an_epoch_of_its_own(patch: pytest.MonkeyPatch) -> None:
    def hold(self: Routing, holdback: Any, **_more: Any) -> Any:
        known: Any = self
        ack = known._write(known.epoch, known.route.model_copy(update={"holdback": holdback}), "daemon", "held")
        known.generation += 1
        return ack

    hold_back(patch)
    patch.setattr(tests.episodes.host, "is_newer", always(True))
    patch.setattr(Routing, "hold", hold)


@plant("R2")
def the_rows_end_a_rollout_and_nobody_ends_its_share(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Rolling, "_leave", nothing)


@plant("R3")
def only_the_champion_is_kept_resident(patch: pytest.MonkeyPatch) -> None:
    honest = Residents.keep

    def keep(self: Residents, versions: Any, replicas: Any) -> Any:
        return honest(self, versions[:1], replicas)

    patch.setattr(Residents, "keep", keep)


@plant("R4")
def nobody_writes_the_deny_list(patch: pytest.MonkeyPatch) -> None:
    for module in (daemon.adoption, daemon.rollback, daemon.rolling):
        patch.setattr(module, "deny", nothing)
    patch.setattr(daemon.rollout_start, "standing", _by_the_rows_alone)


@plant("R4")
def a_denied_anchor_keeps_its_sessions(patch: pytest.MonkeyPatch) -> None:
    honest = Routing.serve

    def serve(self: Routing, *args: Any, **more: Any) -> Any:
        return honest(self, *args, **{**more, "leaving": ()})

    hold_back(patch, OLDEST)
    patch.setattr(daemon.holdback, "denials", SimpleNamespace(is_denied=always(False)))
    patch.setattr(Routing, "serve", serve)


@plant("R4")
def a_second_rollback_forgets_one_that_the_store_did_not_take(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Routing, "unrecorded", property(always(())))


@plant("R5")
def a_version_that_was_passed_over_stays_in_the_stack(patch: pytest.MonkeyPatch) -> None:
    def left_behind(_stack: object, left: str, _target: object, *, named: bool) -> tuple[str, ...]:
        del named
        return (left,)

    patch.setattr(daemon.standing, "left_behind", left_behind)
    patch.setattr(daemon.rollout_start, "standing", _by_the_rows_alone)


def _by_the_rows_alone(read: Any, deployment: str, identity: str | None, _route: object) -> Any:
    return standing(read, deployment, identity, None)


@plant("R4")
def suspended_examples_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(daemon.rollout_start.suspended, "all_ids", always(frozenset[str]()))


@plant("R5")
def a_rollback_ends_a_rollout_without_a_word(patch: pytest.MonkeyPatch) -> None:
    def end(tx: Any, _deployment: str, row: rollouts.Rollout, _by: object, now: float) -> None:
        rollouts.update_phase(tx, row.id, phase=Phase.ABORTED.value, reason="gone", at=now, ended=True)

    patch.setattr(daemon.rollback, "_end", end)


@plant("R6")
def a_step_passes_without_data(patch: pytest.MonkeyPatch) -> None:
    def judge(phase: Phase, *_more: Any) -> Judgement:
        forward = Signal.NO_HARM if phase in (Phase.PROBATION, Phase.SECOND_PROBATION) else Signal.STEP_PASSED
        return Judgement(None if phase is Phase.AWAITING_PROMOTION else forward, "why_not", {})

    patch.setattr(daemon.rolling, "judge", judge)


@plant("R6")
def a_step_passes_at_the_threshold_of_the_way_back(patch: pytest.MonkeyPatch) -> None:
    honest = daemon.rolling.judge

    def judge(phase: Phase, state: Any, kill: Any, config: RolloutConfig, *rest: Any) -> Judgement:
        return honest(phase, state, kill, config.model_copy(update={"alpha_promote": None}), *rest)

    patch.setattr(daemon.rolling, "judge", judge)


@plant("R6")
def the_hours_of_probation_promote_alone(patch: pytest.MonkeyPatch) -> None:
    _too_few_are_enough(patch, "probation")


@plant("R6")
def the_hours_of_a_second_probation_acquit_alone(patch: pytest.MonkeyPatch) -> None:
    _too_few_are_enough(patch, "second_probation")


def _too_few_are_enough(patch: pytest.MonkeyPatch, phase_name: str) -> None:
    honest = daemon.rolling.judge

    def judge(phase: Phase, state: Any, kill: Any, config: RolloutConfig, units: int, seconds: float) -> Judgement:
        found = honest(phase, state, kill, config, units, seconds)
        if found.reason == f"too_few_units_in_{phase_name}":
            return Judgement(Signal.NO_HARM, f"no_harm_in_{phase_name}", found.numbers)
        return found

    patch.setattr(daemon.rolling, "judge", judge)


@plant("R5")
def a_second_probation_begins_where_a_rollout_does(patch: pytest.MonkeyPatch) -> None:
    begins = {**daemon.rollout_start.BEGINS, "second_probation": Phase.STARTING}
    patch.setattr(daemon.rollout_start, "BEGINS", begins)


@plant("L1")
def a_deadline_is_never_reached(patch: pytest.MonkeyPatch) -> None:
    honest: Any = getattr(Rolling, "_look")  # noqa: B009

    def look(self: Rolling, *args: Any) -> Any:
        signal, reason, facts = honest(self, *args)
        return None if signal is Signal.DEADLINE else signal, reason, facts

    patch.setattr(Rolling, "_look", look)


@plant("L1")
def a_lease_is_renewed_by_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    honest = Routing.renew

    def renew(self: Routing, every_s: float) -> bool:
        known: Any = self
        return known._clock() - known._renewed_at >= every_s and honest(self, every_s)

    patch.setattr(Routing, "renew", renew)


@plant("L2")
def a_faster_writer_ends_a_rollback(patch: pytest.MonkeyPatch) -> None:
    honest = Routing.serve

    def serve(self: Routing, *args: Any, **more: Any) -> Any:
        try:
            return honest(self, *args, **more)
        except Overtaken as error:
            if isinstance(error.__cause__, StaleRoute):
                raise error.__cause__ from None
            raise

    patch.setattr(Routing, "serve", serve)


@plant("L2")
def a_rollback_goes_to_what_is_not_loaded(patch: pytest.MonkeyPatch) -> None:
    def newest(_seen: object, targets: Sequence[str]) -> str | None:
        return next(iter(targets), None)

    patch.setattr(daemon.way_back, "_nearest", newest)
