"""``homeostat agent``: serves the port to holders of the control token and ends on SIGTERM with 0."""

from __future__ import annotations

import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.agent_http import HttpAgent
from tests.waiting import wait_until


@pytest.mark.slow
def test_an_agent_answers_its_token_and_ends_on_sigterm(tmp_path: Path, free_port: Callable[[], int]) -> None:
    port = free_port()
    (tmp_path / "homeostat.yaml").write_text("agent: {replicas: [{name: r0, url: 'http://127.0.0.1:9'}]}\n")
    argv = [sys.executable, "-m", "daemon.cli.main", "agent", "--home", str(tmp_path), "--port", str(port)]
    process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
    try:
        token = wait_until(lambda: _read(tmp_path / "secrets/control.token"), 30.0, "the token")
        wait_until(lambda: _code(port) == 401, 30.0, "the agent's refusal of a stranger")
        agent = HttpAgent(f"http://127.0.0.1:{port}", token)
        seen = agent.observe()
        agent.close()
        assert [(replica.name, replica.alive) for replica in seen.replicas] == [("r0", False)]
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(10.0) == 0


def _read(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def _code(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/observe", timeout=5.0) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
