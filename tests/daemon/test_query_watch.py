"""The user's own queries beside a running rollout: they end it, hold it or leave it alone, also over a restart."""

from __future__ import annotations

from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from daemon import secrets
from daemon.assemble import kill_queries
from daemon.config import Config
from daemon.controller import Controller
from daemon.explain.subject import explain
from daemon.faults import ConfigError
from daemon.query_watch import AGAIN_S, QueryWatch, check
from daemon.runtime import Runtime
from daemon.store import Store, buffers, denials, ledger, rollouts, suspended, tables
from deploy.kill_query import Answer, KillQuery
from deploy.prometheus_api import read_answer
from deploy.rollout import Phase
from monitors.metrics import Metrics
from tests.daemon.loop_bench import ME, NEW, LoopBench, drain
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
LEARNED = buffers.Item("x1", "new", "selected", "kept")
PROMQL = "rate(errors_total[1m])"


class Prometheus:
    """Answers what ``now`` says."""

    def __init__(self) -> None:
        self.now = Answer((0.0,))
        self.asked = 0

    def ask(self, query: str) -> Answer:
        assert query == PROMQL
        self.asked += 1
        return self.now


@pytest.fixture
def prometheus() -> Prometheus:
    return Prometheus()


def with_query(tmp_path: Path, store: Store, prometheus: Prometheus, **options: Any) -> LoopBench:
    query = KillQuery.model_validate({"name": "errors", "query": PROMQL, "above": 0.5, "for": 2, **options})
    bench = LoopBench(tmp_path, store, ask=prometheus.ask)
    update = {"kill_queries": (query,), "prometheus_url": "http://127.0.0.1:9", "kill_query_every_s": 10.0}
    bench.rollout_config = bench.rollout_config.model_copy(update=update)
    bench.open_rollout()
    return bench


def ticks(bench: LoopBench, controller: Controller, count: int = 6, step_s: float = 1.0) -> Phase:
    for _ in range(count):
        controller.tick()
        bench.now += step_s
    return bench.phase()


def test_a_query_beyond_its_limit_ends_the_canary_and_suspends_nothing(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus)
    with store.begin() as tx:
        buffers.add(tx, buffers.Buffer("b" * 64, "support", "default", "manual", {}, 1.0), [LEARNED])
        T = tables.versions
        tx.conn.execute(T.update().where(T.c.version == NEW).values(buffer="b" * 64))
    controller, _ = bench.daemon()
    assert ticks(bench, controller) is Phase.CANARY_SMALL
    prometheus.now = Answer((0.1, 0.75))
    assert ticks(bench, controller, 11) is Phase.CANARY_SMALL, "one look is no evidence"
    assert ticks(bench, controller, 12) is Phase.ROLLED_BACK
    with store.read() as read:
        (entry,) = [e for e in ledger.of_subject(read, "r1") if e.reason == "user_query"]
        assert denials.is_denied(read, NEW)
        assert suspended.all_ids(read) == set(), "trouble that both arms may share says nothing of the examples"
        told = explain(store, read, "r1", Config(), bench.now)
    assert entry.data["signal"] == "kill_switch"
    assert {k: entry.data[k] for k in ("query", "expr", "value", "threshold", "relation", "looks")} == {
        "query": "errors", "expr": PROMQL, "value": 0.75, "threshold": 0.5, "relation": "above", "looks": 2,
    }  # fmt: skip
    assert 2000.0 < entry.data["looked_at"] <= bench.now
    assert told is not None
    assert "own query errors was above its limit of 0.5 at 2 looks in a row" in told.decided.words
    assert PROMQL in told.decided.words
    (measure,) = [m for m in told.measures if m.name == "query_errors"]
    assert (measure.value, measure.relation, measure.reached) == (0.75, ">", True)


def test_looks_are_so_many_seconds_apart_and_a_restart_goes_on_counting(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus)
    controller, _ = bench.daemon()
    ticks(bench, controller)
    prometheus.now = Answer((1.0,))
    asked = prometheus.asked
    ticks(bench, controller, 12)
    assert prometheus.asked == asked + 1
    controller.close()
    controller, _ = bench.daemon()
    assert bench.phase() is Phase.CANARY_SMALL
    assert ticks(bench, controller, 3) is Phase.ROLLED_BACK


def test_without_an_answer_nothing_goes_back_and_a_person_is_told(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus)
    controller, _ = bench.daemon()
    ticks(bench, controller)
    prometheus.now = Answer(missing="unreachable", message="connection refused")
    assert ticks(bench, controller, 40) is Phase.CANARY_SMALL
    trouble = bench.troubles.at("query errors")
    assert trouble is not None and "connection refused" in trouble.message
    prometheus.now = Answer((0.1,))
    ticks(bench, controller, 12)
    assert bench.troubles.at("query errors") is None


def test_hold_keeps_the_canary_from_beginning_until_there_is_an_answer(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus, on_missing="hold")
    prometheus.now = Answer(missing="timeout")
    controller, _ = bench.daemon()
    assert ticks(bench, controller, 20) is Phase.PROVING
    assert controller.status()["rollout"]["waiting"] == "query_not_answered"
    prometheus.now = Answer((0.1,))
    assert ticks(bench, controller, 12) is Phase.CANARY_SMALL


@pytest.mark.parametrize(("on_missing", "phase"), [("hold", Phase.PROBATION), ("inform", Phase.PROMOTED)])
def test_hold_keeps_a_candidate_from_its_promotion(
    tmp_path: Path, store: Store, prometheus: Prometheus, on_missing: str, phase: Phase
) -> None:
    bench = with_query(tmp_path, store, prometheus, on_missing=on_missing)
    controller, ingest = bench.daemon()
    ticks(bench, controller)
    controller.promote(ME)
    bench.traffic(bench.rollout_config.min_units_per_arm, 0.8, 0.8, Random(1))
    drain(ingest)
    prometheus.now = Answer()
    bench.now += bench.rollout_config.probation_s + 1.0
    assert ticks(bench, controller, 4) is phase


def test_a_query_beyond_its_limit_before_anybody_met_the_candidate_keeps_the_canary_waiting(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus)
    prometheus.now = Answer((0.9,))
    controller, _ = bench.daemon()
    assert ticks(bench, controller, 8, step_s=10.0) is Phase.PROVING
    assert controller.status()["rollout"]["waiting"] == "user_query_beyond"
    prometheus.now = Answer((0.1,))
    assert ticks(bench, controller, 3, step_s=10.0) is Phase.CANARY_SMALL


def test_a_query_that_prometheus_refuses_is_a_mistake_of_the_config_in_its_own_words() -> None:
    config = Config.model_validate(
        {"rollout": {"prometheus_url": "http://p", "kill_queries": [{"name": "a", "query": "rate(", "above": 1}]}}
    )

    def refuses(_query: str) -> Answer:
        return Answer(missing="refused", message="HTTP 400: 1:6: parse error: unclosed left parenthesis")

    with pytest.raises(ConfigError, match=r"kill_queries\.0\.query \(a\).*unclosed left parenthesis"):
        check(config.rollout, refuses)
    for missing in ("timeout", "unreachable", "no_series", "too_long", ""):
        answer = Answer(missing=missing)
        check(config.rollout, lambda _query, found=answer: found)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b"default backend - 404"),
        (403, b"denied"),
        (302, b""),
        (200, b"<html>Log in</html>"),
        (200, b'{"status":"success"}'),
    ],
)
def test_what_answers_in_place_of_prometheus_keeps_no_daemon_from_starting_and_is_told(
    tmp_path: Path, store: Store, prometheus: Prometheus, status: int, body: bytes
) -> None:
    bench = with_query(tmp_path, store, prometheus)
    prometheus.now = read_answer(status, body)
    check(bench.rollout_config, prometheus.ask)
    controller, _ = bench.daemon()
    ticks(bench, controller)
    trouble = bench.troubles.at("query errors")
    assert trouble is not None and trouble.reason == "unreachable"


def test_a_result_of_a_type_that_cannot_be_compared_is_a_mistake_of_the_config(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus)
    prometheus.now = read_answer(200, b'{"status":"success","data":{"resultType":"matrix","result":[]}}')
    with pytest.raises(ConfigError, match="a matrix, where a scalar"):
        check(bench.rollout_config, prometheus.ask)


class Says075(BaseHTTPRequestHandler):
    """A Prometheus with one series."""

    def do_POST(self) -> None:
        """Any query."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(
            b'{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.75"]}]}}'
        )

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def its_own() -> Generator[str]:
    """URL of the Prometheus that a rollout began with."""
    server = HTTPServer(("127.0.0.1", 0), Says075)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def restarted_without_url(bench: LoopBench, url: str) -> tuple[QueryWatch, rollouts.Rollout]:
    """What a daemon watches whose config lost its Prometheus, and the rollout that began before."""
    tokens = secrets.prepare(bench.folder / "secrets")
    runtime = Runtime(
        bench.config(), bench.store, tokens, lambda: bench.now, lambda: 1.0, lambda: None, troubles=bench.troubles
    )
    watch = kill_queries(runtime, Metrics(runtime.registry))
    with bench.store.begin() as tx:
        row = rollouts.get(tx, "r1")
        assert row is not None
        data = {**row.data, "config": {**row.data["config"], "prometheus_url": url}}
        rollouts.update_phase(tx, "r1", phase=Phase.CANARY_SMALL.value, reason="test", at=bench.now, data=data)
        row = rollouts.get(tx, "r1")
    assert watch is not None and row is not None
    return watch, row


def test_a_running_rollout_is_asked_at_its_own_url_when_the_config_has_none_any_more(
    tmp_path: Path, store: Store, prometheus: Prometheus, its_own: str
) -> None:
    bench = with_query(tmp_path, store, prometheus, **{"for": 1, "on_missing": "hold"})
    watch, row = restarted_without_url(bench, its_own)
    assert watch.look(row).holds == "query_not_answered"
    assert wait_until(lambda: watch.look(row).fires, 10.0, "the look") == "errors"


def test_a_running_rollout_holds_when_its_own_url_is_gone_with_the_config(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus, on_missing="hold")
    watch, row = restarted_without_url(bench, "http://127.0.0.1:9")
    told = wait_until(lambda: (watch.look(row), bench.troubles.at("query errors"))[1], 10.0, "the trouble")
    assert told is not None and told.reason == "unreachable"
    assert watch.look(row).holds == "query_not_answered"


def test_what_was_not_answered_at_the_start_is_told_and_asked_again_before_any_rollout(
    tmp_path: Path, store: Store, prometheus: Prometheus
) -> None:
    bench = with_query(tmp_path, store, prometheus)
    prometheus.now = read_answer(404, b"default backend - 404")
    unanswered = check(bench.rollout_config, prometheus.ask)
    assert unanswered == bench.rollout_config.kill_queries
    watch = QueryWatch(
        store,
        lambda _url, query: prometheus.ask(query),
        lambda: bench.now,
        Metrics(CollectorRegistry()),
        bench.troubles,
        lambda work: work(),
        unanswered,
    )
    for _ in range(5):
        watch.look(None)
    trouble = bench.troubles.at("query errors")
    assert trouble is not None and "HTTP 404" in trouble.message
    assert prometheus.asked == 2, "the start, and once a minute"
    prometheus.now = Answer()
    for _ in range(2):
        bench.now += AGAIN_S
        watch.look(None)
    watch.look(None)
    assert bench.troubles.at("query errors") is None, "no series yet is an answer"
    bench.now += AGAIN_S
    watch.look(None)
    assert prometheus.asked == 3
