"""A server that homeostat cannot work with, though it answers: without LoRA, without the gateway, with another token,
with too little room for the rank.

The daemon runs on and reads every event; the trouble has a name in status, log and ledger, and ends by itself.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.demo.ports import free_port
from tests.deploy.serving import CHAT, Home, Server, question
from tests.e2e_stranger.proxy import gateway_before
from tests.e2e_stranger.shell import Daemon, daemon, homeostat
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
LONG_S = 120.0
"""Ends a test that hangs; what is waited for takes a second on a machine of one's own."""
CONFIG = """
mode: {mode}
deployment: {{name: support, alias: support, base_name: support-base, base_dir: {base}, max_rank: 256}}
training: {{rank: {rank}}}
agent: {{replicas: [{{name: replica-0, url: "{url}"}}]}}
log: {{path: {log}}}
trainer: {{kind: none}}
api: {{port: {port}}}
"""


def home_for(folder: Path, served: Home, url: str, *, mode: str = "auto", rank: int = 16, token: bool = True) -> Path:
    """A daemon's folder for a server at ``url``; ``token``: it shares the control token with the server's gateway."""
    if token:
        shutil.copytree(served.folder / "secrets", folder / "secrets")
    folder.mkdir(parents=True, exist_ok=True)
    log = served.folder / "log.db"
    text = CONFIG.format(mode=mode, base=served.base, rank=rank, url=url, log=log, port=free_port())
    (folder / "homeostat.yaml").write_text(text, encoding="utf-8")
    return folder


def shows(running: Daemon, reason: str) -> dict[str, Any]:
    """The trouble of replica-0, as it stands in the status, the log and the ledger; once in each."""

    def found() -> list[dict[str, Any]]:
        troubles: list[dict[str, Any]] = running.look()["troubles"]
        return [t for t in troubles if (t["where"], t["reason"]) == ("replica-0", reason)]

    (trouble,) = wait_until(found, LONG_S, f"the trouble {reason}")
    human = homeostat("status", "--home", running.home)
    assert human.code == 0 and f"TROUBLE     replica-0: {reason}" in human.out
    assert trouble["message"] in human.out
    logged = [line for line in running.lines() if line.get("event") == "trouble" and line["reason"] == reason]
    assert [(line["where"], line["message"]) for line in logged] == [("replica-0", trouble["message"])]
    why = homeostat("why", "replica-0", "--home", running.home)
    assert why.code == 0 and why.out.count(f"replica-0: {reason} (by agent)") == 1, why.out
    return trouble


def ask(url: str) -> str:
    """One request of a client; the reply."""
    reply = httpx.post(url + CHAT, json=question(), timeout=60.0, trust_env=False)
    assert reply.status_code == 200, reply.text
    return str(reply.json()["choices"][0]["message"]["content"])


@pytest.mark.e2e
def test_a_rank_beyond_the_servers_room_is_named_until_it_is_mended(
    tmp_path: Path, gateway_builtin: tuple[Home, Server]
) -> None:
    served, server = gateway_builtin
    home = home_for(tmp_path / "home", served, server.url, rank=128)
    with daemon(home) as running:
        trouble = shows(running, "rank_too_large")
        assert "LoRA rank 128 is greater than max_lora_rank 64" in trouble["message"]
        assert "Lower training.rank, or start the server with a larger --max-lora-rank" in trouble["message"]
        before = running.counts().get("exchanges", 0)
        ask(server.url)
        wait_until(lambda: running.counts().get("exchanges", 0) > before, LONG_S, "events to be counted meanwhile")
        assert running.stop() == 0
    config = home / "homeostat.yaml"
    config.write_text(config.read_text().replace("rank: 128", "rank: 16"))
    with daemon(home) as running:
        wait_until(lambda: [r["ready"] for r in running.look()["replicas"]] == [True], LONG_S, "a ready replica")
        assert running.look()["troubles"] == []
        assert running.counts()["exchanges"] > before and running.counts().get("duplicates", 0) == 0


@pytest.mark.e2e
def test_another_control_token_is_named(tmp_path: Path, gateway_builtin: tuple[Home, Server]) -> None:
    served, server = gateway_builtin
    with daemon(home_for(tmp_path / "home", served, server.url, token=False)) as running:
        trouble = shows(running, "control_refused")
        assert "does it have this daemon's control token" in trouble["message"]
        refused = homeostat("rollback", "--home", running.home, "--json")
        assert refused.code == 4 and '"reason": "nothing_to_roll_back"' in refused.out


@pytest.mark.e2e
def test_a_server_that_is_away_is_named_and_found_again(tmp_path: Path, gateway_builtin: tuple[Home, Server]) -> None:
    """The daemon starts without it, as it must: the other way round nothing could be rolled back."""
    served, server = gateway_builtin
    port = free_port()
    with daemon(home_for(tmp_path / "home", served, f"http://127.0.0.1:{port}")) as running:
        trouble = shows(running, "unreachable")
        assert "is the server up?" in trouble["message"]
        with gateway_before(server.url, served.folder / "one.json", port):
            wait_until(lambda: running.look()["troubles"] == [], LONG_S, "the trouble to end")
        over = homeostat("why", "replica-0", "--home", running.home).out
        assert "replica-0: mended (by agent)  replica=replica-0 was=unreachable" in over


@pytest.mark.vllm
def test_vllm_without_lora_is_named(tmp_path: Path, plain_vllm: tuple[Home, Server]) -> None:
    served, server = plain_vllm
    with (
        gateway_before(server.url, served.gateway_json("proxy")) as url,
        daemon(home_for(tmp_path / "home", served, url)) as running,
    ):
        trouble = shows(running, "lora_disabled")
        assert "start vLLM with --enable-lora" in trouble["message"]
        assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING=True" in trouble["message"]
        before = running.counts().get("exchanges", 0)
        ask(url)
        wait_until(lambda: running.counts().get("exchanges", 0) > before, LONG_S, "events to be counted meanwhile")
        assert running.look()["route"]["epoch"] == 0
        assert running.stop() == 0


@pytest.mark.vllm
def test_vllm_without_the_gateway_is_named(tmp_path: Path, plain_vllm: tuple[Home, Server]) -> None:
    served, server = plain_vllm
    with daemon(home_for(tmp_path / "home", served, server.url, mode="propose")) as running:
        trouble = shows(running, "control_refused")
        assert "is the gateway loaded (--middleware deploy.gateway.app.Gateway)" in trouble["message"]
    assert ask(server.url)
