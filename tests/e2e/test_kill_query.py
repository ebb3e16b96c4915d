"""A real Prometheus scrapes an exporter of the test; an operator's query ends the canary when its metric rises."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from daemon import secrets
from daemon.assemble import kill_queries
from daemon.config import parse_config
from daemon.faults import ConfigError
from daemon.query_watch import QueryWatch
from daemon.runtime import Runtime
from daemon.store import Store, ledger
from deploy.kill_query import Answer, KillQuery
from deploy.prometheus_api import Prometheus
from deploy.rollout import Phase
from monitors.metrics import Metrics
from tests.daemon.loop_bench import LoopBench
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
SCRAPED = """
global: {scrape_interval: 100ms, scrape_timeout: 100ms}
scrape_configs: [{job_name: shop, static_configs: [{targets: ["127.0.0.1:%d"]}]}]
"""


class Exporter:
    """Serves one gauge with two series."""

    def __init__(self) -> None:
        self.complaints = 1.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = f'complaints{{shop="a"}} {outer.complaints}\ncomplaints{{shop="b"}} 0\nbroken NaN\n'.encode()
                self.send_response(200)
                self.send_header("content-type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


class Asked(Prometheus):
    """A client that says where it asks."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.url = url


@pytest.fixture
def exporter() -> Generator[Exporter]:
    made = Exporter()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def prometheus(tmp_path: Path, exporter: Exporter, free_port: Callable[[], int]) -> Generator[Asked]:
    program = shutil.which("prometheus")
    if program is None:
        pytest.fail("prometheus is missing: apt-get install prometheus (make services does)")
    config, port = tmp_path / "prometheus.yaml", free_port()
    config.write_text(SCRAPED % exporter.port)
    options = [f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}"]
    with (tmp_path / "prometheus.log").open("wb") as log:
        running = subprocess.Popen(
            [program, *options, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
        )
        asks = Asked(f"http://127.0.0.1:{port}")
        try:
            wait_until(lambda: asks.ask("complaints").values, 30.0, "the first scrape")
            yield asks
        finally:
            running.terminate()
            running.wait(10.0)


def test_what_prometheus_says_is_understood(prometheus: Asked) -> None:
    assert sorted(prometheus.ask("complaints").values) == [0.0, 1.0]
    assert prometheus.ask("scalar(sum(complaints))") == Answer((1.0,))
    assert prometheus.ask("no_such_metric") == Answer()
    (value,) = prometheus.ask("broken").values
    assert value != value
    assert prometheus.ask('"five"').missing == "not_a_number"
    assert prometheus.ask("complaints[1m]").missing == "not_a_number"
    refused = prometheus.ask("sum(complaints")
    assert (refused.missing, "unclosed left parenthesis" in refused.message) == ("refused", True)
    many = prometheus.ask("complaints * on () group_left () complaints")
    assert many.missing == "refused" and "many-to-many" in many.message


def started(tmp_path: Path, store: Store, url: str, query: str, mode: str = "auto") -> QueryWatch | None:
    """What a daemon of this config has to look at the query."""
    text = f"""
mode: {mode}
deployment: {{base_dir: base}}
agent: {{replicas: [{{name: a, url: "http://127.0.0.1:1"}}]}}
rollout: {{prometheus_url: "{url}", kill_queries: [{{name: a, query: "{query}", above: 1}}]}}
"""
    config = parse_config(text, tmp_path / "homeostat.yaml")
    tokens = secrets.prepare(tmp_path / "secrets")
    runtime = Runtime(config, store, tokens, lambda: 1.0, lambda: 1.0, lambda: None)
    return kill_queries(runtime, Metrics(runtime.registry))


def test_a_daemon_with_a_mistyped_query_does_not_start_and_says_what_prometheus_said(
    tmp_path: Path, store: Store, prometheus: Asked
) -> None:
    with pytest.raises(ConfigError, match=r"kill_queries\.0\.query \(a\).*unclosed left parenthesis"):
        started(tmp_path, store, prometheus.url, "sum(complaints")
    assert started(tmp_path, store, f"{prometheus.url}/elsewhere", "complaints") is not None, "HTTP 404: a proxy's?"
    assert started(tmp_path, store, prometheus.url, "complaints") is not None
    assert started(tmp_path, store, prometheus.url, "sum(complaints", mode="observe") is None


def test_a_daemon_starts_although_prometheus_is_down(
    tmp_path: Path, store: Store, free_port: Callable[[], int]
) -> None:
    assert started(tmp_path, store, f"http://127.0.0.1:{free_port()}", "complaints") is not None


def test_a_rising_metric_ends_the_canary(tmp_path: Path, store: Store, exporter: Exporter, prometheus: Asked) -> None:
    query = KillQuery.model_validate({"name": "complaints", "query": "complaints", "above": 5.0, "for": 3})
    bench = LoopBench(tmp_path, store, ask=prometheus.ask)
    update = {"kill_queries": (query,), "prometheus_url": "http://127.0.0.1:9", "kill_query_every_s": 1.0}
    bench.rollout_config = bench.rollout_config.model_copy(update=update)
    bench.open_rollout()
    controller, _ = bench.daemon()

    def tick() -> Phase:
        controller.tick()
        bench.now += 1.0
        return bench.phase()

    for _ in range(10):
        tick()
    assert bench.phase() is Phase.CANARY_SMALL
    exporter.complaints = 9.0
    wait_until(lambda: tick() is Phase.ROLLED_BACK, 30.0, "the rollback")
    with store.read() as read:
        (entry,) = [e for e in ledger.of_subject(read, "r1") if e.reason == "user_query"]
    assert (entry.data["query"], entry.data["value"], entry.data["threshold"]) == ("complaints", 9.0, 5.0)
