"""Real servers for tests: a home folder with secrets and gateway.json, and a process that serves a base from it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from deploy.agent import AgentConfig, Replica
from deploy.driver import Driver
from deploy.vllm.launch import command as vllm_command
from tests.conftest import ROOT, VENVS
from tests.waiting import wait_until

TOKEN = "the-control-token"
ALIAS, BASE_NAME = "support", "support-base"
CHAT = "/v1/chat/completions"
START_S = {"builtin": 120.0, "vllm": 300.0}


@dataclass
class Home:
    """One serving host: secrets, artifacts, route file, and a gateway.json for each replica."""

    folder: Path
    base: Path

    def __post_init__(self) -> None:
        secrets = self.folder / "secrets"
        secrets.mkdir(parents=True)
        (secrets / "feedback.key").write_text("ab" * 32)
        (secrets / "salt").write_text("salt")
        (secrets / "control.token").write_text(TOKEN + "\n")

    @property
    def artifacts(self) -> Path:
        """Where registered versions lie."""
        return self.folder / "artifacts"

    def gateway_json(self, name: str) -> Path:
        """The gateway's options for one replica; all replicas share log, secrets and route file."""
        path = self.folder / f"{name}.json"
        deployment = {"name": "support", "alias": ALIAS, "base_name": BASE_NAME}
        path.write_text(json.dumps({"deployments": [deployment], "host": name}))
        return path

    def agent_config(self, servers: Sequence[Server]) -> AgentConfig:
        """The agent of this host."""
        return AgentConfig(
            replicas=tuple(Replica(name=s.name, url=s.url) for s in servers),
            artifacts=self.artifacts,
            route_file=self.folder / "route.json",
            control_token_file=self.folder / "secrets/control.token",
            base_name=BASE_NAME,
        )


@dataclass
class Server:
    """A server process; ``restart`` brings it up again on the same port."""

    name: str
    kind: str
    port: int
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = field(default=None)

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Server:
        """Start and wait until it answers."""
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv, env={**os.environ, **self.env}, stdout=out, stderr=out, cwd=ROOT, start_new_session=True
            )
        try:
            wait_until(self._answers, START_S[self.kind], f"{self.kind} to serve (see {self.log})")
        except BaseException:
            if self.kind == "builtin" and self.process.poll() is None:
                self.process.send_signal(signal.SIGUSR1)  # its stacks, into its log
                wait_until(lambda: "Current thread" in self.log.read_text(), 10.0, "the stacks")
            self.kill()
            raise
        return self

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, f"{self.kind} ended: {self.log.read_text()[-3000:]}"
        try:
            return httpx.get(f"{self.url}/v1/models", timeout=5.0, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, deadline_s: float = 30.0) -> int:
        """SIGTERM; the exit code. vLLM leaves children, so its whole group gets it."""
        process = self.process
        assert process is not None
        if self.kind == "vllm" and process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        try:
            return process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10.0)

    def driver(self) -> Driver:
        """A driver with the control token."""
        return Driver(self.url, TOKEN)


def builtin_server(home: Home, name: str, port: int, more: Sequence[str] = ()) -> Server:
    """The built-in server with the gateway."""
    argv = [str(VENVS / "trainer/bin/python"), "-m", "deploy.servers.builtin", "--model", str(home.base)]
    argv += ["--served-model-name", ALIAS, BASE_NAME, "--port", str(port)]
    argv += ["--gateway", str(home.gateway_json(name)), *more]
    return Server(name, "builtin", port, argv, {"OMP_NUM_THREADS": "1"}, home.folder / f"{name}.log")


def vllm_server(home: Home, name: str, port: int) -> Server:
    """vLLM on the CPU with the gateway."""
    argv, env = vllm_command(VENVS / "vllm/bin/python", home.base, port, ALIAS, BASE_NAME)
    env = {**env, "HOMEOSTAT_GATEWAY": str(home.gateway_json(name)), "PYTHONPATH": str(ROOT)}
    return Server(name, "vllm", port, argv, env, home.folder / f"{name}.log")


MAKERS: dict[str, Callable[[Home, str, int], Server]] = {"builtin": builtin_server, "vllm": vllm_server}


def question(text: str = "where is my card", **more: object) -> dict[str, object]:
    """A chat request to the alias; six greedy tokens."""
    body: dict[str, object] = {"model": ALIAS, "messages": [{"role": "user", "content": text}]}
    return {**body, "temperature": 0, "max_tokens": 6, **more}
