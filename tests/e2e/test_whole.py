"""The main job on the real things: Kafka 4 with four partitions, real vLLM, the broker restarted mid-canary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml

from daemon.store import Store, counters, exchanges, offsets
from streams.codec import Decoded, decode
from streams.config import LogConfig
from streams.events import Exchange
from streams.log import Record
from streams.open_log import open_source
from tests.kafka_broker import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.kafka, pytest.mark.soak]
LONGEST_S = 1300.0
LOOK_S = 1.0
"""Seconds between two looks at the status: each takes time from the two cores that the scenario needs."""


def status(home: Path) -> dict[str, Any] | None:
    """The daemon's status document; None while it does not answer."""
    try:
        port = yaml.safe_load((home / "homeostat.yaml").read_text())["api"]["port"]
        token = (home / "secrets" / "operator.token").read_text().strip()
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.get(f"http://127.0.0.1:{port}/api/v1/status", headers=headers, timeout=5.0, trust_env=False)
        return cast("dict[str, Any]", answer.json()) if answer.status_code == 200 else None
    except (OSError, httpx.HTTPError, KeyError):
        return None


def nothing_lost_or_counted_twice(home: Path, served: int) -> None:
    """E1, E2 over four partitions and a broker's restart: replies that users got are on the log, each once, and what is
    below the committed positions is what the store holds and the counters say.
    """
    source = open_source(LogConfig.model_validate(yaml.safe_load((home / "homeostat.yaml").read_text())["log"]))
    source.start({})
    records: list[Record] = []
    while any(source.lag().values()):
        records += source.poll(5000, 1.0)
    partitions = Counter(topic for topic, _ in source.lag())
    source.close()
    assert set(partitions.values()) == {4}
    events = [(r, d.event) for r in records if isinstance(d := decode(r), Decoded)]
    assert len(events) == len(records)
    asked = [(r, e) for r, e in events if isinstance(e, Exchange)]
    assert len({e.exchange_id for _, e in asked}) == len(asked) >= served
    store = Store.open(f"sqlite:///{home / 'store.db'}")
    with store.read() as read:
        committed, counted = offsets.get_all(read), counters.get_all(read)
        kept = exchanges.get_many(read, (e.exchange_id for _, e in asked))
    store.close()
    below = {e.exchange_id for r, e in asked if r.offset < committed.get((r.topic, r.partition), 0)}
    assert set(kept) == below
    assert counted["exchanges"] == len(below)
    assert not counted.get("dead_letters")


def test_from_drift_to_promotion_and_back_on_kafka_and_vllm(tmp_path: Path, repo_root: Path) -> None:
    broker = Broker(tmp_path / "kafka")
    broker.start()
    out, figures = tmp_path / "out", tmp_path / "demo.json"
    argv = [str(repo_root / ".venvs/daemon/bin/homeostat"), "demo", "--server", "vllm", "--log", "kafka"]
    argv += ["--seed", "1", "--json", str(figures), "--out", str(out)]
    env = os.environ | {"HOMEOSTAT_KAFKA": broker.bootstrap, "HOMEOSTAT_TRAINER_PYTHON": sys.executable}
    with (tmp_path / "demo.log").open("wb") as log:
        demo = subprocess.Popen(argv, cwd=repo_root, env=env, stdout=log, stderr=log)
    try:
        looked = 0.0

        def in_canary() -> bool:
            nonlocal looked
            assert demo.poll() is None, (tmp_path / "demo.log").read_text()[-4000:]
            if time.monotonic() - looked < LOOK_S:
                return False
            looked = time.monotonic()
            rollout = (status(out / "home") or {}).get("rollout")
            return rollout is not None and rollout["phase"] in ("canary_small", "canary_half")

        wait_until(in_canary, LONGEST_S, "a canary")
        broker.stop()
        broker.start()
        demo.wait(LONGEST_S)
        said = (tmp_path / "demo.log").read_text()[-4000:]
        assert figures.exists(), said
        found = json.loads(figures.read_text())
        nothing_lost_or_counted_twice(out / "home", found["requests"] - found["failed"])
    finally:
        if demo.poll() is None:
            demo.kill()
        broker.stop()
    assert found["alarms"]["before"] == 0, said
    assert found["alarms"]["kind"] == "input", said
    assert found["new_desk"]["before"] <= 0.2, said
    assert found["new_desk"]["after"] >= 0.8, said
    assert found["new_desk"]["n"] >= 300, said
    assert found["old_desks"]["loss_upper95"] < 0.02, said
    assert found["rollback"]["failed"] == 0, said
    assert found["rollback"]["dispatched_after_ack"] == 0, said
