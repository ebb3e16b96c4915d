"""A rollout with a shadow on a bench: what users said, a candidate, and ticks that wait for its work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from daemon.controller import Controller
from daemon.shadow_task import PERIOD_S, ShadowTask
from daemon.store import Store, exchanges, feedback, ledger
from deploy.driver_errors import DriverError
from deploy.shadow_config import ShadowConfig
from streams.events import Exchange, Feedback, FeedbackKind
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.fake_replier import FakeReplier
from tests.daemon.loop_bench import IDENTITY, LoopBench
from tests.waiting import wait_until

Say = Callable[[int], str]


def candidate_that(say: Say, error: DriverError | None = None) -> FakeReplier:
    """Answers question ``n`` by a function of the number."""
    return FakeReplier(lambda text: say(number_in(text)), error)


def number_in(text: str) -> int:
    return int(text.split()[-1])


def asked(candidate: FakeReplier) -> list[int]:
    """Numbers of the questions that it was asked."""
    return [number_in(text) for text in candidate.asked]


def right(number: int) -> str:
    """What users want to hear: every fourth reply of the champion is wrong."""
    return f"better {number}" if number % 4 == 0 else f"Answer {number}."


def loses(number: int) -> str:
    """Nothing mended, and half of what was right is lost."""
    return "something else" if number % 4 == 0 or number % 2 == 0 else right(number)


def corrected(number: int, text: str, **changes: Any) -> Feedback:
    return said(number, f"x{number}", kind=FeedbackKind.CORRECTION, value=None, correction=text, **changes)


def judged(number: int) -> tuple[Exchange, Feedback]:
    """Exchange ``number`` of the identity version, with a thumb up or a correction."""
    verdict = corrected(number, right(number)) if number % 4 == 0 else said(number, f"x{number}")
    return exchange(number, version=IDENTITY), verdict


def put(store: Store, *found: tuple[Exchange, Feedback]) -> None:
    with store.begin() as tx:
        exchanges.insert_new(tx, [x for x, _ in found])
        feedback.insert_new(tx, [f for _, f in found])


def shadowed(store: Store, candidate: FakeReplier, bench: LoopBench) -> ShadowTask:
    names = ("support-base", "support", IDENTITY)
    return ShadowTask(store, candidate, "support", names, 600.0, lambda: bench.now, bench.metrics)


def made(folder: Path, store: Store, candidate: FakeReplier, **options: Any) -> LoopBench:
    """A bench whose rollout has a shadow and is proved within a few ticks."""
    wanted: dict[str, Any] = {"share": 1.0, "max_per_minute": 6000, "enough": 60, "wait_s": 300.0, **options}
    shadow = ShadowConfig.model_validate(wanted)
    bench = LoopBench(folder, store)
    bench.rollout_config = bench.rollout_config.model_copy(update={"shadow": shadow})
    bench.shadow = shadowed(store, candidate, bench)
    bench.open_rollout()
    return bench


def ticks(bench: LoopBench, controller: Controller, count: int) -> None:
    """Ticks, a look of the shadow apart, each after the shadow's work is done."""
    for _ in range(count):
        controller.tick()
        assert wait_until(lambda: idle(bench), 10.0, "the shadow's requests")
        bench.now += PERIOD_S


def shown(bench: LoopBench) -> tuple[float, float]:
    """Blocks and log e-value as Prometheus sees them."""
    found = [bench.metrics.registry.get_sample_value(f"homeostat_shadow_{name}") for name in ("blocks", "log_e")]
    assert found[0] is not None and found[1] is not None
    return found[0], found[1]


def idle(bench: LoopBench) -> bool:
    return bench.shadow is not None and not bench.shadow.at_work


def entry(store: Store, signal: str) -> ledger.Entry:
    with store.read() as read:
        return next(e for e in ledger.of_subject(read, "r1") if e.data.get("signal") == signal)
