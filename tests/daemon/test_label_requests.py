"""Labels are asked for by name, for a verdict, of exchanges that help; what comes counts, and every request ends."""

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
from daemon.asking import Asking
from daemon.config import Config
from daemon.explain.subject import explain
from daemon.ingest import Ingest
from daemon.label_requests import (
    ENDS,
    MOST_KEPT,
    MOST_OPEN,
    LabelRequest,
    for_rollout,
    load,
    looked_at,
    save,
    with_new,
)
from daemon.learning import Learning
from daemon.store import Store, alarms, cycles, exchanges, feedback, ledger, rollouts, suspended
from daemon.wanted_labels import most_informative, wanted
from deploy.power import Forecast, Outlook
from deploy.rollout import Phase, RolloutConfig
from monitors.alarms import SliceModel
from monitors.gate import GateReason, GateResult
from monitors.grams import hashed
from monitors.metrics import Metrics
from streams.codec import encode_exchange, encode_feedback
from streams.events import FeedbackKind, Message, Trust
from streams.sqlite_sink import SqliteSink
from tests.daemon.cli.conftest import served, shell
from tests.daemon.cli.shell import Served, Shell
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.fakes import FakeController
from tests.daemon.loop_bench import LoopBench, drain

__all__ = ["served", "shell"]
OPEN = LabelRequest("labels-1", "a1", None, "training", 10, 100.0, 200.0, None)
NOW = 5000.0


# ----------------------------------------------------------------------------------------------------- as values


@pytest.mark.parametrize(
    ("got", "promoted_at", "now", "end"),
    [
        (9, None, 199.0, ""),
        (10, None, 150.0, "labels_satisfied"),
        (9, None, 200.0, "labels_timed_out"),
        (10, None, 200.0, "labels_satisfied"),
        (0, 101.0, 150.0, "labels_superseded"),
        (0, 99.0, 150.0, ""),
    ],
)
def test_a_request_ends_with_a_name(got: int, promoted_at: float | None, now: float, end: str) -> None:
    after = looked_at(OPEN, got, promoted_at, now)
    assert (after.end, after.got, after.ended_at) == (end, got, now if end else None)
    assert after.left == (0 if end else 10 - got)
    assert looked_at(after, 99, None, 10**9) == after or not end
    assert LabelRequest.from_dict(json.loads(json.dumps(after.to_dict()))) == after
    assert end in ("", *ENDS)


def test_what_needs_none_ends_at_once() -> None:
    assert looked_at(replace(OPEN, needed=0), 0, None, 101.0).end == "labels_enough"


def test_a_few_are_open_at_a_time_and_a_few_are_remembered() -> None:
    known: list[LabelRequest] = []
    for n in range(MOST_KEPT + 5):
        known = with_new(known, replace(OPEN, id=f"labels-{n}", alarm=f"a{n}"))
        assert sum(r.open for r in known) <= MOST_OPEN
    assert len(known) == MOST_KEPT and known[-1].open
    again = with_new(known, replace(OPEN, id="new", alarm=known[-1].alarm))
    assert [r.end for r in again if r.alarm == known[-1].alarm] == ["labels_superseded", ""]


def test_a_rollout_asks_for_what_traffic_does_not_bring_before_the_deadline() -> None:
    config = RolloutConfig(deadline_s=10_000.0, maturity_s=990.0, lateness_s=10.0)
    outlook = Outlook(0.1, 0.1, 1.0, 0.25, units_per_s=0.1)
    assert for_rollout(Forecast(400.0, 600.0, 0.0), outlook, config) == 200
    assert for_rollout(Forecast(400.0, math.inf, math.inf), outlook, config) is None
    short = config.model_copy(update={"deadline_s": 1000.0})
    assert for_rollout(Forecast(400.0, 600.0, 0.0), outlook, short) is None


def test_the_list_goes_in_rounds_over_users_and_takes_a_session_once() -> None:
    loud = [exchange(n, identity="loud", session=f"l{n}") for n in range(50, 60)]
    quiet = [exchange(n, identity=f"q{n}", session=f"q{n}") for n in range(3)]
    twice = [exchange(n, identity="q2", session="q2") for n in (10, 11)]
    found = most_informative([*loud, *quiet, *twice], most=50, per_identity=3)
    assert [x.exchange_id for x in found] == ["x59", "x11", "x1", "x0", "x58", "x57"]
    assert [x.exchange_id for x in most_informative([*quiet, *loud], most=2, per_identity=3)] == ["x59", "x2"]


# ------------------------------------------------------------------------------------------------------ on a store


def slice_about(word: str) -> SliceModel:
    return SliceModel(buckets=1024, weights=dict.fromkeys(hashed(word, 1024), 1.0), bias=0.0, threshold=0.5)


def alarm(at: float, *, kind: str = "input", about: SliceModel | None = None) -> alarms.AlarmRow:
    body = {"evidence": {}, "slice": None if about is None else about.model_dump(mode="json")}
    return alarms.AlarmRow("a1", "support", kind, "classifier_bet", True, True, at, body)


def asks(store: Store, **options: Any) -> Asking:
    config = Config.model_validate({"cycle": {"min_labels": 10, "min_selected": 5}, **options})
    return Asking(store, config, lambda: NOW, Metrics(CollectorRegistry()))


def test_only_unrated_exchanges_of_the_slice_are_wanted(store: Store) -> None:
    parcel = (Message(role="user", content="parcel"),)
    with store.begin() as tx:
        told = [
            exchange(1, messages=parcel),
            exchange(2, messages=parcel),
            exchange(3, messages=parcel, status=500),
            exchange(4, messages=parcel, arm="holdback"),
            exchange(5),
            exchange(6, messages=parcel),
        ]
        exchanges.insert_new(tx, told)
        feedback.insert_new(tx, [said(1, "x1"), said(6, "x6", trust=Trust.BARE)])
        about = slice_about("parcel")
        alarms.insert_new(tx, [alarm(1000.0, about=about)])
        save(tx, [replace(OPEN, slice=about.digest), replace(OPEN, id="over", end="labels_timed_out")], NOW)
    with store.read() as read:
        found = wanted(read, load(read), Config(), NOW)
    assert [one.exchange_id for one in found] == ["x6", "x2"], "a thumb without a token rates nothing"
    assert {one.request for one in found} == {"labels-1"}
    assert all(len(one.session) == 12 and one.session not in ("s2", "s6") for one in found)


def test_there_may_be_enough_already_and_suspended_ones_do_not_count(store: Store) -> None:
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n) for n in range(12)])
        feedback.insert_new(tx, [said(n, f"x{n}") for n in range(12)])
        suspended.add(tx, "r1", [f"x{n}" for n in range(5)], 1.0)
    asking = asks(store)
    asking.for_alarm(alarm(1000.0))
    with store.read() as read:
        assert [r.needed for r in load(read)] == [3]
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n) for n in range(20, 23)])
        feedback.insert_new(tx, [said(n, f"x{n}", sent_at=NOW) for n in range(20, 23)])
    asking.tick()
    with store.read() as read:
        assert [r.end for r in load(read)] == ["labels_satisfied"]


def test_a_restart_counts_on_and_the_ledger_has_the_whole_of_it(store: Store) -> None:
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n) for n in range(8)])
    asks(store).for_alarm(alarm(1000.0))
    for upto in (4, 8):
        with store.begin() as tx:
            said_now = [said(n, f"x{n}", sent_at=NOW, trust=Trust.PRODUCER) for n in range(upto)]
            feedback.insert_new(tx, said_now)
        asking = asks(store)
        asking.tick()
        with store.read() as read:
            (request,) = load(read)
        assert (request.got, request.left) == (upto, 10 - upto)
    late = Asking(store, Config(), lambda: NOW + 86400.0, Metrics(CollectorRegistry()))
    late.tick()
    with store.read() as read:
        told = [e for e in ledger.of_subject(read, "a1") if e.kind == "labels"]
    assert [e.reason for e in told] == ["labels_asked", "labels_timed_out"]
    assert {k: told[1].data[k] for k in ("alarm", "verdict", "needed", "got")} == {
        "alarm": "a1", "verdict": "training", "needed": 10, "got": 8,
    }  # fmt: skip


def test_changed_feedback_asks_for_what_tells_its_cause(store: Store) -> None:
    asking = asks(store, join={"window_s": 100.0})
    asking.for_alarm(alarm(1000.0, kind="feedback"))
    with store.begin() as tx:
        told = [
            exchange(n, received_at=at, completed_at=at) for n, at in enumerate((NOW - 9.0, NOW - 50.0, NOW - 101.0))
        ]
        exchanges.insert_new(tx, told)
    with store.read() as read:
        listed_now = wanted(read, load(read), Config.model_validate({"join": {"window_s": 100.0}}), NOW)
    assert [one.exchange_id for one in listed_now] == ["x0", "x1"], "nobody counts what is said of the third"
    with store.begin() as tx:
        down = said(1, "x1", value=False, sent_at=NOW)
        late = said(3, "x2", value=False, sent_at=NOW)
        feedback.insert_new(tx, [down, said(2, "x0", trust=Trust.BARE, sent_at=NOW), late])
    asking.tick()
    with store.read() as read:
        (request,) = load(read)
    assert (request.verdict, request.needed, request.got) == ("cause", 120, 1)


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
    metrics, learning = examined(store, tmp_path, Outlook(0.1, 0.2, 1.0, 0.25, units_per_s=0.001))
    learning.tick(None, False, False)
    with store.read() as read:
        (request,) = load(read)
        found = explain(store, read, "c1", Config(), NOW)
        row = cycles.get(read, "c1")
    assert row is not None and row.reason == "underpowered"
    lacking = math.ceil(float(row.data["units"]) - 0.001 * (100_000.0 - 2 * 3605.0))
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
