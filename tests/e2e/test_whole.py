"""The main job on the real things: Kafka 4 with four partitions, real vLLM, the broker restarted mid-canary."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml

from tests.kafka_broker import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.vllm, pytest.mark.soak]
LONGEST_S = 1300.0


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

        def in_canary() -> bool:
            assert demo.poll() is None, (tmp_path / "demo.log").read_text()[-4000:]
            rollout = (status(out / "home") or {}).get("rollout")
            return rollout is not None and rollout["phase"] in ("canary_small", "canary_half")

        wait_until(in_canary, LONGEST_S, "a canary")
        broker.stop()
        broker.start()
        demo.wait(LONGEST_S)
    finally:
        if demo.poll() is None:
            demo.kill()
        broker.stop()
    said = (tmp_path / "demo.log").read_text()[-4000:]
    found = json.loads(figures.read_text())
    assert found["alarms"]["before"] == 0, said
    assert found["alarms"]["kind"] == "input", said
    assert found["new_desk"]["before"] <= 0.2, said
    assert found["new_desk"]["after"] >= 0.8, said
    assert found["new_desk"]["n"] >= 300, said
    assert found["old_desks"]["loss_upper95"] < 0.02, said
    assert found["rollback"]["failed"] == 0, said
    assert found["rollback"]["dispatched_after_ack"] == 0, said
