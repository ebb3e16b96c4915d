"""The demo: quiet traffic, a new desk appears, homeostat adapts, a person rolls back. All is measured from outside."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from daemon.demo.acts import appear, command, follow, quiet
from daemon.demo.baseline import tfidf_accuracy
from daemon.demo.children import ChildFailed
from daemon.demo.daemon_client import StageTimeout
from daemon.demo.documents import integer, part
from daemon.demo.figures import AlarmFigures, DemoFigures, OldDesks, Rollback, failures
from daemon.demo.home import ALIAS, BASE_NAME
from daemon.demo.journal import Served, accuracy
from daemon.demo.measure import after_ack, ask_all, ask_both, last_dispatch, old_questions
from daemon.demo.options import bars_for
from daemon.demo.places import Question
from daemon.demo.stages import LIVE, acting_alarms
from daemon.demo.stand import Stand

MARGIN_S = 20.0
"""Seconds of the scenario kept for what comes after the promotion when the wait for it is bounded."""


@dataclass(slots=True)
class Adapted:
    """Moments of a run that the figures refer to (wall-clock seconds)."""

    drift_at: float
    promoted_at: float | None = None


async def play(stand: Stand) -> DemoFigures:
    """The whole scenario. Never raises for what homeostat fails to do: that is named in ``failures``."""
    figures = DemoFigures(base_seconds=round(stand.base.seconds, 1))
    desk = stand.world.new_desks[0]
    questions = list(stand.world.tests(desk, stand.script.measure_new, stand.options.seed))
    problems: list[str] = []
    stand.begin()
    adapted: Adapted | None = None
    try:
        await quiet(stand, stand.script.quiet_exchanges)
        adapted = Adapted(appear(stand, desk, "drift"))
        await _adapt(stand, adapted)
        await _measure_new(stand, figures, questions)
        await _measure_old(stand, figures)
        await _roll_back(stand, figures)
    except (StageTimeout, ChildFailed) as error:
        problems.append(f"scenario: {error}")
    stand.watch.stage(None)
    figures.seconds = round(stand.seconds, 1)
    await stand.users.stop()
    if adapted is not None:
        _alarm_figures(stand, figures, adapted)
        _before_figures(stand, figures, desk, adapted)
    await _baseline(stand, figures, questions)
    figures.stages = {name: round(s, 1) for name, s in stand.watch.seconds.items()}
    figures.requests = stand.journal.requests
    figures.failed += stand.journal.failed + stand.journal.feedback_failed
    figures.failures = problems + failures(figures, bars_for(stand.options))
    figures.ok = not figures.failures
    return figures


async def _adapt(stand: Stand, adapted: Adapted) -> None:
    left = stand.script.scenario_s - stand.seconds - MARGIN_S
    status = await follow(stand, adapted.drift_at, stand.watcher.seen.status.get("champion"), left)
    adapted.promoted_at = stand.mark("promoted")
    stand.say(f"promoted: {status['champion']} serves all traffic")


async def _measured(stand: Stand, stage: str, work: Callable[[], Awaitable[None]]) -> None:
    """Measure beside thinner traffic, so that the measurement and not the users fills the machine."""
    stand.watch.stage(stage)
    stand.users.pace(stand.script.measure_rate)
    try:
        await work()
    finally:
        stand.users.pace(stand.script.users.rate)
    stand.check()


async def _measure_new(stand: Stand, figures: DemoFigures, questions: Sequence[Question]) -> None:
    script = stand.script

    async def work() -> None:
        answers = await ask_all(
            stand.gateway, ALIAS, questions, script.measure_concurrency, script.users.max_tokens, who="visitor"
        )
        right = sum(a.right for a in answers)
        figures.failed += sum(not a.reply.ok for a in answers)
        figures.new_desk.n = len(answers)
        figures.new_desk.after = right / len(answers) if answers else None
        stand.say(f"new desk after promotion: {right} of {len(answers)} held-out questions right")

    await _measured(stand, "measure_new", work)


async def _measure_old(stand: Stand, figures: DemoFigures) -> None:
    script, status = stand.script, stand.watcher.seen.status
    before, after = status.get("previous") or BASE_NAME, str(status["champion"])
    questions = old_questions(stand.world.tests, list(stand.world.old_desks), script.measure_old, stand.options.seed)

    async def work() -> None:
        loss = await ask_both(
            stand.gateway, before, after, questions, script.measure_concurrency, script.users.max_tokens
        )
        figures.failed += loss.failed
        figures.old_desks = OldDesks(before=loss.before, after=loss.after, n=loss.n, loss_upper95=loss.loss_upper95)
        stand.say(
            f"old desks, {loss.n} questions of both versions: {loss.before:.3f} before, {loss.after:.3f} after, "
            f"loss below {100 * loss.loss_upper95:.1f} points (95 %)"
        )

    await _measured(stand, "measure_old", work)


async def _roll_back(stand: Stand, figures: DemoFigures) -> None:
    stand.watch.stage("rollback")
    script, began_at = stand.script, time.time()
    old = str(stand.watcher.seen.status["champion"])
    await asyncio.sleep(script.load_before_s)
    stand.mark("rollback")
    code, document, said = await command(stand, "rollback", "--reason", "demo: a person wants the old behaviour back")
    returned_at = time.time()
    if code != 0:
        raise StageTimeout(f"homeostat rollback (exit {code}: {said.strip()[-300:]})", 0.0, str(document))
    await asyncio.sleep(script.load_after_s)
    state = await stand.gateway.state()
    rows = stand.journal.between(began_at)
    acked_at = float(document["acked_at"])
    figures.rollback = Rollback(
        failed=sum(not r.ok for r in rows),
        dispatched_after_ack=after_ack(rows, old, returned_at, last_dispatch(state, old), acked_at),
        ms=round(float(document["ms"]), 1),
        requests=len(rows),
    )
    stand.say(
        f"rolled back to {document.get('to')} in {figures.rollback.ms} ms: {figures.rollback.failed} of {len(rows)} "
        f"requests failed, {figures.rollback.dispatched_after_ack} dispatched to {old} after the acknowledgement"
    )


def _alarm_figures(stand: Stand, figures: DemoFigures, adapted: Adapted) -> None:
    alarms = acting_alarms(stand.watcher.seen)
    after = [a for a in alarms if float(a["at"]) >= adapted.drift_at]
    first = next((a for a in after if a["kind"] == "input"), after[0] if after else None)
    figures.alarms = AlarmFigures(before=len(alarms) - len(after), kind=first["kind"] if first else None)
    if first is not None:
        at = float(first["at"])
        figures.alarms.delay_exchanges = sum(1 for r in stand.journal.served if adapted.drift_at <= r.done_at <= at)


def _before_figures(stand: Stand, figures: DemoFigures, desk: str, adapted: Adapted) -> None:
    rows = before_canary(list(stand.journal.served), desk, adapted.drift_at, _canary_at(stand))
    figures.new_desk.before, figures.new_desk.n_before = accuracy(rows)


def _canary_at(stand: Stand) -> float:
    """When a candidate first answered users: the first request of a canary arm, or the first look at a live rollout."""
    first_arm = next((r.sent_at for r in stand.journal.served if r.arm == "canary"), float("inf"))
    first_look = next((s.at for s in stand.watcher.seen.snapshots if s.rollout in LIVE), float("inf"))
    return min(first_arm, first_look)


def before_canary(rows: Sequence[Served], desk: str, since: float, until: float) -> list[Served]:
    """Requests of a desk that users sent after its appearance and that were answered before any candidate served."""
    return [r for r in rows if r.desk == desk and r.sent_at >= since and r.done_at < until]


async def _baseline(stand: Stand, figures: DemoFigures, questions: Sequence[Question]) -> None:
    """TF-IDF on the corrections sent before training began; the hostile user's are left out, which favours it."""
    until = next((at for at, word in stand.marks if word == "training"), float("inf"))
    sent = [s for s in stand.journal.said if s.ok and s.correction is not None and not s.hostile and s.at < until]
    pairs = [(s.question, s.correction) for s in sent if s.correction is not None]
    figures.tfidf_baseline = await asyncio.to_thread(tfidf_accuracy, pairs, questions)
    figures.corrections_used = await _corrections_used(stand)


async def _corrections_used(stand: Stand) -> int | None:
    """Corrections in the buffer that was trained on, as the ledger counts them; None when it does not say."""
    told = [integer(part(event, "data"), "corrections") for event in stand.watcher.seen.events]
    return next((count for count in reversed(told) if count is not None), None)
