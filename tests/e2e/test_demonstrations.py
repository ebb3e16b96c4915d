"""Demonstrations on a real server, from real traffic: shown, proved, judged by the gate, and training after that.

A tiny random base cannot learn from its prompt, so the gate must refuse it: that is what is tested here, beside that
the pairs reach the engine and nothing but the clients' own requests is stored. Nobody forges a gain.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon import assemble
from daemon.config import load_config
from daemon.runtime import Parts, Runtime
from daemon.secrets import prepare
from daemon.store import Store, alarms, counters, cycles, exchanges, proofs, versions
from tests.deploy.serving import CHAT, Home, Server, builtin_server, question
from tests.e2e.stand import Models
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.trainer, pytest.mark.slow]
CONFIG = """
mode: auto
home: {folder}
deployment: {{base_dir: {base}}}
agent: {{replicas: [{{name: replica-0, url: "{url}"}}]}}
trainer: {{kind: none}}
join: {{window_s: 600, lateness_s: 0.2, idle_s: 0.5}}
monitors: {{reference_size: 20000}}
selection: {{identity_age: 0}}
gate: {{min_old: 5, min_new: 5}}
cycle: {{min_labels: 10, min_selected: 5, cooldown_s: 3600,
         demonstrations: {{enabled: true, max_pairs: 2, max_characters: 300, min_examples: 5}}}}
"""
PLACES = ("the card", "my parcel", "the invoice", "my account", "the refund")
REPLY_TOKENS = 64
"""What the gate asks for too: a recorded reply that is cut sooner would be another one."""


@dataclass
class Whole:
    """A server, and the daemon's parts in this process."""

    server: Server
    store: Store
    parts: Parts
    sent: int = 0

    def ask(self, text: str, right: str | None) -> None:
        """One user asks; he confirms the reply, or says what is ``right``."""
        self.sent += 1
        headers = {"x-session-id": f"s{self.sent}", "x-user-id": f"u{self.sent}"}
        tokens = REPLY_TOKENS if right is None else 4
        with httpx.Client(base_url=self.server.url, timeout=60.0, trust_env=False) as http:
            reply = http.post(CHAT, json=question(text, max_tokens=tokens), headers=headers)
            assert reply.status_code == 200, reply.text
            body: dict[str, Any] = {"token": reply.headers["x-homeostat-token"], "kind": "thumb", "value": True}
            if right is not None:
                body = {"token": body["token"], "kind": "correction", "correction": right}
            assert http.post("/v1/feedback", json=body).status_code == 202

    def take_in(self) -> int:
        """Read what is on the log; exchanges stored."""
        self.parts.ingest.step(0.05)
        with self.store.read() as read:
            return counters.get_all(read).get("feedback", 0)

    def until(self, action: str, phase: str) -> cycles.Cycle:
        """Ticks until the newest cycle with this action is in a phase."""

        def looked() -> cycles.Cycle | None:
            self.parts.controller.tick()
            with self.store.read() as read:
                newest = next(iter(cycles.newest(read, "support", 1)), None)
            return newest if newest and newest.phase == phase and newest.data["action"] == action else None

        found = wait_until(looked, 240.0, f"{action} to be {phase}")
        assert found is not None
        return found


@pytest.fixture
def whole(tmp_path: Path, models: Models, free_port: Callable[[], int]) -> Generator[Whole]:
    home = Home(tmp_path / "home", models.base)
    server = builtin_server(home, "replica-0", free_port()).start()
    path = home.folder / "homeostat.yaml"
    path.write_text(CONFIG.format(folder=home.folder, base=models.base, url=server.url))
    config = load_config(path)
    store = Store.open(config.store_url, "normal")
    runtime = Runtime(config, store, prepare(config.secrets), time.time, time.monotonic, lambda: None)
    parts = assemble.assemble(runtime)
    parts.ingest.start()
    parts.controller.start()
    yield Whole(server, store, parts)
    parts.controller.close()
    parts.ingest.close()
    store.close()
    server.stop()


def test_pairs_from_real_feedback_are_shown_proved_and_refused_by_the_gate_and_training_follows(whole: Whole) -> None:
    for n in range(40):
        place = PLACES[n % len(PLACES)]
        whole.ask(f"where is {place} now, question {n}", f"ask the desk for {place}")
        whole.ask(f"hello thanks {n} for {place}", None)
    wait_until(lambda: whole.take_in() >= whole.sent, 60.0, "the events to be stored")
    alarm = alarms.AlarmRow(
        "a1", "support", "input", "test", True, True, time.time(), {"evidence": {"cause": "new_inputs"}, "slice": None}
    )
    with whole.store.begin() as tx:
        alarms.insert_new(tx, [alarm])

    stopped = whole.until("demonstrate", "stopped")
    assert stopped.reason in ("gate_new_desk_not_better", "gate_old_desks_worse")
    name, below = str(stopped.data["version"]), str(stopped.data["stands_on"])
    with whole.store.read() as read:
        row, proof = versions.get(read, name), proofs.latest(read, name)["replica-0"]
        assert row is not None and row.gate is not None
        checks = {check["name"]: check for check in row.gate["checks"]}
    assert (proof.ok, proof.reason) == (True, "proved"), "through the gateway of the replica itself"
    assert proof.numbers["gap_to_base"] > 0.1
    assert checks["new"]["n"] >= 5 and "nll" not in checks, "the hold-outs were asked"
    gateway = whole.server.driver().gateway()
    assert gateway["versions"][name]["dispatched"] >= checks["new"]["n"] + checks["old"]["n"]
    assert set(gateway["proved"]) >= {name, below} and gateway["epoch"] is None, "no user met it"

    following = whole.until("adapt", "training")
    assert following.cause == "a1" and following.data["passed_over"] == ["demonstrations_gate_stopped"]
    whole.take_in()
    with whole.store.read() as read:
        stored = exchanges.since(read, "support", 0.0, time.time() + 1.0, 1000)
    assert len(stored) == whole.sent, "what the gate and the proof asked is no traffic"
    assert all(len(x.messages) == 1 for x in stored)
