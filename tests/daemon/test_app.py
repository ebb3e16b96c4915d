"""The process: starts whole or not at all, serves, stops quickly, keeps one daemon a home."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from daemon.app import Daemon, Options
from daemon.config import Config, parse_config
from daemon.faults import MachineFault
from daemon.runtime import Parts, Runtime
from daemon.store import Store, exchanges
from streams.errors import LogUnavailable
from tests.daemon import events
from tests.daemon.fakes import FakeController, FakeIngest
from tests.waiting import wait_until

FreePort = Callable[[], int]


class Stand:
    """A daemon of fakes in a folder of its own."""

    def __init__(self, home: Path, port: int) -> None:
        self.file = home / "homeostat.yaml"
        text = f"api: {{port: {port}}}\nlearning: {{tick_s: 0.01}}\nstore: {{synchronous: normal}}\n"
        self.config: Config = parse_config(text, self.file)
        self.controller, self.ingest = FakeController(), FakeIngest()
        self.runtime: list[Runtime] = []
        self.now = time.time()

    def daemon(self, **changes: Any) -> Daemon:
        def assemble(runtime: Runtime) -> Parts:
            self.runtime.append(runtime)
            return Parts(self.ingest, self.controller)

        config = self.config.model_copy(update=changes)
        return Daemon(Options(config, self.file, assemble, clock=lambda: self.now))


@pytest.fixture
def stand(tmp_path: Path, free_port: FreePort) -> Stand:
    return Stand(tmp_path, free_port())


def get(stand: Stand, path: str) -> int:
    try:
        with urllib.request.urlopen(stand.config.api.url + path, timeout=5.0) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_a_daemon_ticks_reads_serves_and_ends_once(stand: Stand) -> None:
    daemon = stand.daemon()
    daemon.start()
    wait_until(lambda: stand.controller.ticks > 2 and stand.ingest.steps > 2, 5.0, "ticks and steps")
    assert stand.controller.started
    assert get(stand, "/healthz") == 200
    assert get(stand, "/api/v1/status") == 401
    daemon.stop()
    assert stand.controller.closed and stand.ingest.closed
    ticks = stand.controller.ticks
    daemon.stop()
    with pytest.raises(urllib.error.URLError):
        get(stand, "/healthz")
    assert stand.controller.ticks == ticks
    again = stand.daemon()
    again.start()
    again.stop()


@pytest.mark.slow
def test_a_wake_makes_the_next_tick_come_at_once(stand: Stand) -> None:
    learning = stand.config.learning.model_copy(update={"tick_s": 60.0})
    daemon = stand.daemon(learning=learning)
    daemon.start()
    try:
        wait_until(lambda: stand.controller.ticks == 1, 5.0, "the first tick")
        stand.runtime[0].wake()
        wait_until(lambda: stand.controller.ticks == 2, 5.0, "the woken tick")
    finally:
        daemon.stop()


@pytest.mark.slow
def test_a_log_that_goes_away_and_comes_back(stand: Stand) -> None:
    daemon = stand.daemon()
    daemon.start()
    try:
        wait_until(lambda: stand.ingest.steps, 5.0, "steps")
        stand.ingest.away = True
        wait_until(lambda: stand.ingest.refused > 1, 5.0, "tries during the outage")
        steps = stand.ingest.steps
        stand.ingest.away = False
        wait_until(lambda: stand.ingest.steps > steps + 2, 5.0, "steps after the outage")
    finally:
        daemon.stop()


@pytest.mark.slow
def test_old_text_is_forgotten_in_the_background(stand: Stand) -> None:
    store = Store.open(stand.config.store_url, "normal")
    old = events.exchange(1, received_at=stand.now - 31 * 86400.0)
    young = events.exchange(2, received_at=stand.now - 29 * 86400.0)
    with store.begin() as tx:
        exchanges.insert_new(tx, [old, young])
    daemon = stand.daemon()
    daemon.start()

    def blanked() -> bool:
        with store.read() as read:
            found = exchanges.get(read, "x1")
            return found is not None and found.completion == ""

    try:
        wait_until(blanked, 5.0, "the sweep")
        with store.read() as read:
            assert exchanges.get(read, "x2") == young
    finally:
        daemon.stop()
        store.close()


def test_a_taken_port_is_named_and_nothing_is_left_running(stand: Stand) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stand.config.api.port))
        other.listen()
        with pytest.raises(MachineFault, match=rf"api\.port: 127\.0\.0\.1:{stand.config.api.port} is taken"):
            stand.daemon().start()
    assert not stand.controller.started


def test_a_broker_that_is_down_at_start_frees_home_and_port(stand: Stand) -> None:
    stand.ingest.away = True
    with pytest.raises(LogUnavailable, match=r"no broker answers\. Start it"):
        stand.daemon().start()
    assert stand.ingest.closed and stand.controller.closed
    stand.ingest.away = False
    daemon = stand.daemon()
    daemon.start()
    daemon.stop()


def test_one_daemon_a_home(stand: Stand, free_port: FreePort) -> None:
    daemon = stand.daemon()
    daemon.start()
    try:
        other = stand.config.api.model_copy(update={"port": free_port()})
        with pytest.raises(MachineFault, match=r"another homeostat \(process \d+\) works in"):
            stand.daemon(api=other).start()
    finally:
        daemon.stop()
