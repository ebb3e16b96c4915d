"""Demonstrations through the real controller: from an alarm to promotion, or on to training; the engine is scripted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.demonstrations import read_demonstrations
from adapters.registry import Registry
from adapters.training_config import ALL_TARGETS
from daemon.cli import output
from daemon.controller import Controller
from daemon.denial import suspend
from daemon.explain.subject import explain
from daemon.faults import Refused
from daemon.ingest import Ingest
from daemon.store import Store, alarms, buffers, cycles, denials, jobs, ledger, rollouts, suspended, versions
from daemon.version_rows import adapter_of, row_of
from deploy.rollout import FINAL, Phase
from streams.codec import encode_exchange, encode_feedback
from streams.events import FeedbackKind, Message, Sampling, Trust
from streams.sqlite_sink import SqliteSink
from tests.adapters.samples import write_base
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.loop_bench import ME, LoopBench, drain
from tests.waiting import wait_until

MORE = """
selection: {identity_age: 0}
gate: {min_old: 20, min_new: 20, old_margin: 0.1}
cycle: {min_labels: 60, min_selected: 20, cooldown_s: 500,
        demonstrations: {enabled: true, max_pairs: 4, max_characters: 800, min_examples: 20}}
rollout: {maturity_s: 10, lateness_s: 1, lease_s: 5, deadline_s: 5000, probation_units: 40, probation_s: 4000}
"""
TOPICS = ("roaming in other countries", "esim for a second phone", "porting an old number")
RIGHT = {topic: f"here is all about {topic}" for topic in TOPICS}
WORDS = tuple(
    f"{a}{b}" for a in ("lam", "tor", "vig", "sen", "qua") for b in ("bo", "ri", "tex", "mu", "pal", "do", "zen")
)
OLD = tuple(f"what costs plan number {n} per month" for n in range(40))


@dataclass
class Engine:
    """Knows the old questions; of the new ones only what it is shown, and that only if it ``learns`` from context."""

    registry: Registry
    learns: bool = True
    asked: list[str] = field(default_factory=list[str])

    def reply(self, version: str, messages: Sequence[dict[str, str]]) -> str:
        self.asked.append(version)
        prompt = messages[-1]["content"]
        if prompt.startswith("what costs"):
            return prompt.replace("what costs", "the price of")
        shown: set[str] = set()
        if version.startswith("support-") and version != "support-base" and version in self.registry.versions():
            folder = self.registry.path(version)
            if self.registry.manifest(version).kind == "demonstrations":
                shown = {pair.answer for pair in read_demonstrations(folder)[1].pairs}
        answer = next(right for topic, right in RIGHT.items() if topic in prompt)
        return answer if self.learns and answer in shown else "no idea"

    def wait_until_quiet(self) -> None:
        return None


@dataclass
class Demos:
    """The world of one test."""

    bench: LoopBench
    engine: Engine
    identity: str
    controller: Controller
    ingest: Ingest

    def tick_until(self, phase: str, what: str) -> cycles.Cycle:
        """Ticks until the newest cycle is in a phase; the gate works on its own thread meanwhile."""

        def looked() -> cycles.Cycle | None:
            self.bench.now += 0.01
            self.controller.tick()
            newest = self.newest()
            return newest if newest is not None and newest.phase == phase else None

        found = wait_until(looked, 20.0, what)
        assert found is not None
        return found

    def newest(self) -> cycles.Cycle | None:
        """The newest cycle."""
        with self.bench.store.read() as read:
            return next(iter(cycles.newest(read, "support", 1)), None)

    def version(self, name: str) -> versions.Version:
        """Its row."""
        with self.bench.store.read() as read:
            row = versions.get(read, name)
        assert row is not None
        return row

    def why(self, name: str) -> str:
        """All that ``homeostat why`` says, as one text."""
        with self.bench.store.read() as read:
            told = explain(self.bench.store, read, name, self.bench.config(), self.bench.now)
        assert told is not None
        return " ".join((told.title, told.decided.words, *told.next, *told.notes))

    def record(self, new: int = 150, old: int = 150, first: int = 0, sampling: Sampling | None = None) -> None:
        """Old questions that were confirmed, new ones that were corrected, each by somebody else. The third exchange
        raises the input alarm ``a1`` (the bench's watch does).
        """
        sink = SqliteSink(self.bench.folder / "log.db")
        for n in range(first, first + new + old):
            fresh = n < first + new
            topic = TOPICS[n % 3]
            filler = " ".join(WORDS[(n * k) % len(WORDS)] for k in (1, 7, 11))
            prompt = f"{filler} {topic} {filler[::-1]}" if fresh else OLD[n % len(OLD)]
            reply = self.engine.reply("support-base", [{"role": "user", "content": prompt}])
            at = self.bench.now
            x = exchange(
                n,
                messages=(Message(role="user", content=prompt),),
                completion=reply,
                identity=f"person{n}",
                sampling=sampling,
                received_at=at,
                dispatched_at=at,
                completed_at=at + 0.1,
            )
            changes: dict[str, Any] = {"sent_at": at + 0.2, "trust": Trust.TOKEN}
            if fresh:
                changes |= {"kind": FeedbackKind.CORRECTION, "correction": RIGHT[topic], "value": None}
            sink.append("homeostat.traffic", x.session, encode_exchange(x, "test"))
            sink.append("homeostat.feedback", x.session, encode_feedback(said(n, x.exchange_id, **changes), "t", "t"))
        assert sink.flush(5.0)
        sink.close()
        self.bench.sent = first + new + old
        self.bench.now += 10.0
        drain(self.ingest)


MakeDemos = Callable[..., Demos]


@pytest.fixture
def make(tmp_path: Path, store: Store) -> MakeDemos:
    def made(learns: bool = True, more: str = MORE) -> Demos:
        bench = LoopBench(tmp_path, store, more=more)
        bench.base = write_base(tmp_path / "base")
        registry = Registry(tmp_path / "artifacts")
        manifest = registry.admit_identity(
            bench.base, deployment="support", tenant="default", rank=8, alpha=16.0, targets=ALL_TARGETS
        )
        bench.identity = manifest.version
        with store.begin() as tx:
            versions.register(tx, row_of(manifest, registry, 0.0))
        bench.replier = engine = Engine(registry, learns)
        controller, ingest = bench.daemon()
        return Demos(bench, engine, manifest.version, controller, ingest)

    return made


def shown(demos: Demos, phase: str = "rolling") -> cycles.Cycle:
    """A cycle that passed the gate with pairs."""
    demos.record()
    found = demos.tick_until(phase, "the gate")
    assert found.data["action"] == "demonstrate" and found.cause == "a1"
    return found


def rolled(demos: Demos, rollout: str, good: float, bad: float) -> Phase:
    """Traffic until the rollout ends."""
    rng = random.Random(5)
    for _ in range(400):
        demos.controller.tick()
        if demos.bench.phase(rollout) in FINAL:
            return demos.bench.phase(rollout)
        demos.bench.traffic(25, good, bad, rng, rollout)
        drain(demos.ingest)
        demos.bench.now += 2.0
    raise AssertionError(f"still in {demos.bench.phase(rollout)}")


@pytest.mark.slow
def test_pairs_that_help_are_promoted_and_training_goes_on_from_what_they_stand_on(make: MakeDemos) -> None:
    demos = make()
    cycle = shown(demos)
    name, rollout = str(cycle.data["version"]), str(cycle.data["rollout"])
    row = demos.version(name)
    assert (row.kind, row.parent, row.status) == ("demonstrations", demos.identity, "gated")
    assert cycle.data["new"] == 4 and cycle.data["chosen_from"] > 20 and cycle.data["passed_over"] == []
    assert set(demos.engine.asked) >= {name}
    with demos.bench.store.read() as read:
        assert row.buffer is not None
        items = buffers.items(read, row.buffer)
        pairs = {p.exchange_id for p in read_demonstrations(demos.engine.registry.path(name))[1].pairs}
        assert {i.exchange_id for i in items if i.role == "new"} == pairs, "lineage, both ways"
        assert jobs.of_cycle(read, cycle.id) == [], "nothing is trained"
    assert rolled(demos, rollout, good=0.95, bad=0.5) is Phase.PROMOTED
    demos.controller.tick()
    status = demos.controller.status()
    assert (status["champion"], status["previous"], status["kinds"][name]) == (name, demos.identity, "demonstrations")
    assert f"{name} (demonstrations)" in output.status(status)
    assert all(name in r.models and r.proved[name] for r in demos.bench.host.replicas)
    assert "(demonstrations)" in demos.why(name) and f"stands on {demos.identity} and shows" in demos.why(name)
    assert "4 pairs" in demos.why(cycle.id)

    demos.controller.adapt(ME, {})
    trained = demos.tick_until("training", "a buffer")
    assert (trained.data["champion"], trained.cause) == (name, "manual"), "the gate compares with what serves"
    with demos.bench.store.read() as read:
        (job,) = jobs.of_cycle(read, trained.id)
        assert job.spec["champion"] == adapter_of(read, name) == demos.identity
    demos.controller.abort(ME)

    answer = demos.controller.rollback(ME, None, False)
    assert (answer["from"], answer["to"]) == (name, demos.identity)
    with demos.bench.store.read() as read:
        assert denials.is_denied(read, name)


@pytest.mark.slow
def test_pairs_that_do_not_help_are_stopped_by_the_gate_and_training_follows_at_once(make: MakeDemos) -> None:
    demos = make(learns=False)
    stopped = shown(demos, phase="stopped")
    assert stopped.reason == "gate_new_desk_not_better"
    assert demos.bench.host.route is None, "nobody met them"
    assert "goes on to the next action: a version is trained" in demos.why(stopped.id)
    assert "the gate did not pass them" in demos.why("a1"), "its alarm is open again"
    following = demos.tick_until("training", "the next cycle's buffer")
    assert (following.cause, following.data["action"]) == ("a1", "adapt")
    assert following.data["passed_over"] == ["demonstrations_gate_stopped"]
    assert following.data["demonstrated"] == "demonstrations_gate_stopped"
    assert "tried first; the gate did not pass them" in demos.why(following.id)
    with demos.bench.store.read() as read:
        (job,) = jobs.of_cycle(read, following.id)
        opened = next(e for e in ledger.about(read, following.id) if e.reason == "input_drift")
    assert job.spec["champion"] is None
    assert opened.data["passed_over"] == ["demonstrations_gate_stopped"] and opened.data["action"] == "adapt"


@pytest.mark.slow
def test_harmful_pairs_are_suspended_alone_and_after_the_rollback_labels_come_before_training(make: MakeDemos) -> None:
    demos = make()
    cycle = shown(demos)
    name, rollout = str(cycle.data["version"]), str(cycle.data["rollout"])
    assert rolled(demos, rollout, good=0.1, bad=0.9) is Phase.ROLLED_BACK
    pairs = {p.exchange_id for p in read_demonstrations(demos.engine.registry.path(name))[1].pairs}
    with demos.bench.store.read() as read:
        assert suspended.all_ids(read) == pairs and denials.is_denied(read, name)
    demos.controller.tick()
    ended = demos.newest()
    assert ended is not None and ended.reason == "rollout_rolled_back"
    assert "It waits for the cooldown" in demos.why("a1")
    assert demos.controller.status()["labels"], "asked for before anything else is tried"
    demos.bench.now += 1100.0
    demos.record(first=10_000)
    following = demos.tick_until("training", "the next cycle's buffer")
    assert following.data["action"] == "adapt" and following.data["passed_over"][0].startswith("labels_")
    assert following.data["demonstrated"] == "demonstrations_not_promoted"
    with demos.bench.store.read() as read:
        items = buffers.items(read, str(following.data["buffer"]), "new")
        assert not pairs & {i.exchange_id for i in items}, "suspended examples are not learnt from (R4)"


@pytest.mark.slow
def test_a_rollout_without_a_verdict_leads_on_to_training_too(make: MakeDemos) -> None:
    demos = make()
    cycle = shown(demos)
    demos.bench.now += 5100.0
    assert rolled(demos, str(cycle.data["rollout"]), 0.5, 0.5) is Phase.INCONCLUSIVE
    demos.controller.tick()
    demos.bench.now += 600.0
    following = demos.tick_until("training", "the next cycle's buffer")
    assert following.data["passed_over"] == ["demonstrations_not_promoted"]


@pytest.mark.slow
def test_a_version_without_effect_never_leaves_the_gate(make: MakeDemos) -> None:
    demos = make()
    known = set(demos.engine.registry.versions())
    host = demos.bench.host

    def watched(version: str, replica: str, load: Any = host.ensure_loaded) -> None:
        host.without_effect |= {version} - known
        load(version, replica)

    host.ensure_loaded = watched  # type: ignore[method-assign]
    stopped = shown(demos, phase="stopped")
    assert stopped.reason == "gate_invalid_evidence"
    assert host.route is None
    assert demos.tick_until("training", "the next cycle").data["passed_over"] == ["demonstrations_gate_stopped"]


@pytest.mark.slow
def test_without_the_wish_training_comes_first_and_the_reason_is_named(make: MakeDemos) -> None:
    demos = make(more=MORE.replace("enabled: true", "enabled: false"))
    demos.record()
    trained = demos.tick_until("training", "a buffer")
    assert (trained.data["action"], trained.data["passed_over"]) == ("adapt", ["demonstrations_off"])
    assert "demonstrated" not in trained.data


@pytest.mark.slow
def test_a_person_who_ends_them_ends_them_for_that_alarm(make: MakeDemos) -> None:
    demos = make(more=MORE.replace("min_examples: 20", "min_examples: 5000"))
    demos.record()
    demos.controller.tick()
    demos.controller.abort(ME)
    for _ in range(3):
        demos.controller.tick()
    ended = demos.newest()
    assert ended is not None and ended.reason == "aborted_by_person"
    with demos.bench.store.read() as read:
        assert alarms.unanswered(read, "support") == []


@pytest.mark.slow
def test_examples_that_cannot_be_shown_lead_on_to_training(make: MakeDemos) -> None:
    demos = make(more=MORE.replace("max_characters: 800", "max_characters: 100"))
    stopped = shown(demos, phase="stopped")
    assert stopped.reason == "no_demonstrations" and "version" not in stopped.data
    assert demos.tick_until("training", "the next cycle").data["passed_over"] == ["demonstrations_too_few"]


@pytest.mark.slow
def test_answers_that_a_tool_a_picture_or_a_format_made_are_not_shown(make: MakeDemos) -> None:
    demos = make()
    demos.record(sampling=Sampling(shaped=True))
    found = demos.tick_until("training", "the training")
    assert found.data["passed_over"] == ["demonstrations_too_few"]


@pytest.mark.slow
def test_a_restart_in_the_gate_or_before_it_finds_the_same_version(make: MakeDemos) -> None:
    demos = make()
    demos.record()
    gating = demos.tick_until("gating", "the pairs")
    demos.controller, demos.ingest = demos.bench.daemon()
    rolling = demos.tick_until("rolling", "the gate")
    assert (rolling.id, rolling.data["version"]) == (gating.id, gating.data["version"])
    with demos.bench.store.read() as read:
        assert len([v for v in versions.of_deployment(read, "support") if v.kind == "demonstrations"]) == 1
        assert rollouts.active(read, "support") is not None


@pytest.mark.slow
def test_suspension_by_hand_covers_the_pairs_alone(make: MakeDemos) -> None:
    demos = make()
    cycle = shown(demos)
    with demos.bench.store.begin() as tx:
        assert suspend(tx, "support", "r", str(cycle.data["version"]), "me", 1.0) == 4
    assert json.dumps(dict(cycle.data), default=str).count(RIGHT[TOPICS[0]]) == 0, "ids and numbers, never text"


@pytest.mark.slow
def test_nobody_is_routed_to_pairs_while_what_they_stand_on_is_denied(make: MakeDemos) -> None:
    demos = make()
    gating = shown(demos, phase="gating")
    name = str(gating.data["version"])
    with demos.bench.store.begin() as tx:
        denials.deny(tx, "support", demos.identity, reason="test", actor="me", at=1.0)
    stopped = demos.tick_until("stopped", "the gate")
    assert stopped.reason == "denied_version"
    with demos.bench.store.begin() as tx:
        denials.deny(tx, "support", name, reason="test", actor="me", at=1.0)
    with pytest.raises(Refused) as refused:
        demos.controller.approve(ME, name)
    assert refused.value.reason == "denied_version" and demos.identity in str(refused.value)
    demos.controller.approve(ME, demos.identity)
    assert demos.controller.approve(ME, name)["version"] == name
