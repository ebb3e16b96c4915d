"""Labels are asked for by name and for a verdict where the loop lacks them, and a person reads what is wanted."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry, generate_latest

from daemon import secrets
from daemon.api.application import build
from daemon.config import Config
from daemon.explain.subject import explain
from daemon.ingest import Ingest
from daemon.label_requests import load, save
from daemon.learning import Learning
from daemon.store import Store, alarms, cycles, exchanges, ledger, rollouts
from deploy.power import Outlook, forecast
from deploy.rollout import Phase, RolloutConfig
from monitors.gate import GateReason, GateResult
from monitors.metrics import Metrics
from streams.codec import encode_exchange, encode_feedback
from streams.events import FeedbackKind, Trust
from streams.sqlite_sink import SqliteSink
from tests.daemon.asked import NOW, OPEN, alarm
from tests.daemon.cli.conftest import served, shell
from tests.daemon.cli.shell import Served, Shell
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.fakes import FakeController
from tests.daemon.loop_bench import LoopBench, drain

__all__ = ["served", "shell"]


# -------------------------------------------------------------------------------------------------- in the loop


def rolled_back_once(bench: LoopBench) -> None:
    """A cycle whose rollout was rolled back, long ago."""
    data = {"config": bench.rollout_config.model_dump(mode="json"), "slice": None}
    bench.open_rollout()
    with bench.store.begin() as tx:
        rollouts.update_phase(
            tx, "r1", phase=Phase.ROLLED_BACK.value, reason="reward_harm", at=10.0, data=data, ended=True
        )
        cycles.create(
            tx, cycle="c1", deployment="support", cause="a0", phase="done", reason="x", data={"rollout": "r1"}, at=1.0
        )
        cycles.update_phase(tx, "c1", phase="done", reason="x", data={"rollout": "r1"}, at=10.0, active=False)


def send(bench: LoopBench, ingest: Ingest, numbers: range, *, rate: bool = False) -> None:
    """Exchanges, or a backend's corrections of them, through the log."""
    sink = SqliteSink(bench.folder / "log.db")
    for n in numbers:
        x = exchange(n, received_at=bench.now, dispatched_at=bench.now, completed_at=bench.now + 0.1)
        if not rate:
            sink.append("homeostat.traffic", x.session, encode_exchange(x, "test"))
            continue
        right = {"kind": FeedbackKind.CORRECTION, "correction": "better", "value": None, "trust": Trust.PRODUCER}
        f = said(n, x.exchange_id, sent_at=bench.now, **right)
        sink.append("homeostat.feedback", x.session, encode_feedback(f, "crm"))
    assert sink.flush(5.0)
    sink.close()
    drain(ingest)


def listed(bench: LoopBench, *scopes: Any, text: bool = False) -> dict[str, Any]:
    """What the API answers."""
    folder = bench.folder / "secrets"
    tokens = secrets.prepare(folder)
    raw = "raw" + "".join(scopes)
    entry = secrets.TokenEntry(name="rater", sha256=secrets.hash_token(raw), scopes=scopes)
    path = folder / "tokens.json"
    known = secrets.TokenFile.model_validate_json(path.read_bytes())
    path.write_text(secrets.TokenFile(tokens=(*known.tokens, entry)).model_dump_json())
    tokens = secrets.prepare(folder)
    app = build(
        deployment="support", store=bench.store, controller=FakeController(), tokens=tokens,
        allowed_hosts=["127.0.0.1"], config=bench.config(), clock=lambda: bench.now,
    )  # fmt: skip
    client = TestClient(app, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {raw}"})
    return client.get("/api/v1/labels", params={"text": text}).json()


@pytest.mark.slow
def test_after_a_rollback_labels_are_asked_for_before_the_next_cycle(tmp_path: Path, store: Store) -> None:
    bench = LoopBench(tmp_path, store, more="cycle: {min_labels: 6, min_selected: 3, cooldown_s: 0}")
    rolled_back_once(bench)
    controller, ingest = bench.daemon()
    send(bench, ingest, range(100, 108))
    bench.now += 1.0
    with store.begin() as tx:
        alarms.insert_new(tx, [alarm(bench.now)])
    for _ in range(3):
        controller.tick()
    status = controller.status()
    assert status["cycle"] is None
    (asked,) = status["labels"]
    assert (asked["left"], asked["verdict"], asked["alarm"]) == (6, "training", "a1")
    with store.read() as read:
        told = explain(store, read, "a1", bench.config(), bench.now)
    assert told is not None
    assert "waits for the labels that were asked for" in told.next[0]
    assert any("It asked for 6 labels" in note and "0 came so far" in note for note in told.notes)
    assert "homeostat labels" in [r.command for r in told.can_do]

    before = listed(bench, "read")
    assert [one["exchange_id"] for one in before["exchanges"]] == [f"x{n}" for n in range(107, 99, -1)]
    assert before["exchanges"][0].keys() == {"exchange_id", "at", "session", "request"}
    assert listed(bench, "read", text=True)["reason"] == "missing_scope"
    shown = listed(bench, "read", "operate", text=True)["exchanges"][0]
    assert (shown["prompt"], shown["reply"]) == ("question 107", "answer 107")

    bench.now += 1.0
    send(bench, ingest, range(100, 105), rate=True)
    controller.tick()
    assert [one["exchange_id"] for one in listed(bench, "read")["exchanges"]] == ["x107", "x106", "x105"]
    assert controller.status()["labels"][0]["left"] == 1
    send(bench, ingest, range(105, 106), rate=True)
    for _ in range(2):
        controller.tick()
    status = controller.status()
    assert (status["labels"], status["cycle"]["cause"], status["counts"]["feedback"]) == ([], "a1", 6)
    assert status["cycle"]["counts"]["passed_over"] == ["labels_satisfied"]


@pytest.mark.slow
def test_a_request_that_times_out_lets_the_cycle_go_on(tmp_path: Path, store: Store) -> None:
    bench = LoopBench(tmp_path, store, more="cycle: {cooldown_s: 0}\nlabels: {deadline_s: 50}")
    rolled_back_once(bench)
    controller, _ = bench.daemon()
    with store.begin() as tx:
        alarms.insert_new(tx, [alarm(bench.now)])
    controller.tick()
    assert controller.status()["labels"][0]["needed"] == 500
    bench.now += 51.0
    controller.tick()
    controller.tick()
    assert controller.status()["cycle"]["counts"]["passed_over"] == ["labels_timed_out"]


class PassedGate:
    """Says yes."""

    def result(self, *_: object) -> GateResult:
        return GateResult(verdict="pass", reason=GateReason.PASSED, checks=())

    def cancel(self) -> None:
        return None


def examined(store: Store, folder: Path, outlook: Outlook) -> tuple[Metrics, Learning]:
    """A cycle at its gate, which passes, and the forecast of its rollout."""
    bench = LoopBench(folder, store, more="rollout: {deadline_s: 100000}")
    bench.register("v1")
    data: dict[str, Any] = {"version": "v1", "overrides": {}, "slice": None}
    with store.begin() as tx:
        alarms.insert_new(tx, [alarm(1.0)])
        cycles.create(
            tx, cycle="c1", deployment="support", cause="a1", phase="gating", reason="trained", data=data, at=1.0
        )
    metrics = Metrics(CollectorRegistry())
    nobody: Any = SimpleNamespace()
    gate: Any = PassedGate()
    learning = Learning(
        bench.config(),
        store,
        nobody,
        nobody,
        gate,
        lambda _tx, _cycle, _version: "never",
        lambda _cycle, _result: outlook,
        lambda: None,
        lambda: NOW,
        metrics,
    )
    learning.tick(None, False, False)
    return metrics, learning


@pytest.mark.slow
def test_an_underpowered_rollout_asks_for_the_sessions_that_it_lacks(tmp_path: Path, store: Store) -> None:
    outlook = Outlook(0.1, 0.2, 1.0, 0.25, units_per_s=0.001)
    metrics, learning = examined(store, tmp_path, outlook)
    learning.tick(None, False, False)
    with store.read() as read:
        (request,) = load(read)
        found = explain(store, read, "c1", Config(), NOW)
        row = cycles.get(read, "c1")
    assert row is not None and row.reason == "underpowered"
    waits = forecast(outlook, RolloutConfig(deadline_s=100_000.0)).waits_s
    lacking = math.ceil(float(row.data["units"]) - 0.001 * (100_000.0 - waits))
    assert 2 * 3605.0 < waits < 100_000.0
    assert (request.verdict, request.cycle, request.alarm, request.needed) == ("rollout", "c1", "a1", lacking)
    assert f"homeostat_labels_wanted {float(lacking)}" in generate_latest(metrics.registry).decode()
    assert found is not None
    assert any(f"It asked for {lacking} rated sessions" in note for note in found.notes)


@pytest.mark.slow
def test_where_labels_cannot_help_none_are_asked_for(tmp_path: Path, store: Store) -> None:
    examined(store, tmp_path, Outlook(-0.5, -0.5, 1.0, 0.25, units_per_s=0.001))
    with store.read() as read:
        assert load(read) == []
        reasons = [e.reason for e in ledger.of_subject(read, "c1")]
    assert reasons[-2:] == ["underpowered", "labels_cannot_help"]


@pytest.mark.slow
def test_an_alarm_whose_cycle_got_too_few_labels_says_that_it_asked(tmp_path: Path, store: Store) -> None:
    bench = LoopBench(tmp_path, store, more="cycle: {label_deadline_s: 10}")
    controller, _ = bench.daemon()
    with store.begin() as tx:
        alarms.insert_new(tx, [alarm(bench.now)])
    for _ in range(4):
        controller.tick()
        bench.now += 6.0
    with store.read() as read:
        (request,) = load(read)
        row = cycles.newest(read, "support", 1)[0]
        told = explain(store, read, "a1", bench.config(), bench.now)
    assert row.reason == "too_few_labels"
    assert (request.verdict, request.cycle, request.needed) == ("training", row.id, 500)
    assert told is not None
    assert any("It asked for 500 labels" in note for note in told.notes)


# ------------------------------------------------------------------------------------------------ for a person


def test_the_command_lists_them(shell: Shell, served: Served, store: Store) -> None:
    home = ("--home", str(served.home))
    assert shell("labels", *home).out == "no labels were asked for\n"
    now = time.time()
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(1, received_at=now - 60.0)])
        save(tx, [replace(OPEN, asked_at=now, deadline=now + 100.0)], now)
    out = shell("labels", *home).out
    assert "labels-1  for training  0 of 10  until" in out and "alarm a1" in out
    assert "x1" in out and "question 1" not in out
    assert "question 1" in shell("labels", *home, "--text").out
    found = json.loads(shell("labels", *home, "--json").out)
    assert [one["exchange_id"] for one in found["exchanges"]] == ["x1"]
