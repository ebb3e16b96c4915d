"""``homeostat agent``: the agent of this host behind HTTP, for a daemon elsewhere. No store, no torch.

It keeps the route file, so serving and a rollback by whoever holds the control token work with the daemon dead.
"""

from __future__ import annotations

import sys

from daemon import secrets
from daemon.api.server import ApiServer, bind
from daemon.config import Config
from daemon.faults import ConfigError
from daemon.signals import stop_asked
from deploy.agent import AgentConfig, LocalAgent, Replica
from deploy.agent_http import application


def agent_config(config: Config) -> AgentConfig:
    """What the agent of this home needs to know."""
    return AgentConfig(
        replicas=tuple(Replica(name=r.name, url=r.url) for r in config.agent.replicas),
        artifacts=config.artifacts,
        route_file=config.route_file,
        control_token_file=config.secrets / "control.token",
        base_name=config.deployment.base_name,
    )


def serve_agent(config: Config, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT. Raises ConfigError (no replicas) and the faults of ``bind`` and of the secrets."""
    if not config.agent.replicas:
        raise ConfigError("agent.replicas: name at least one server of this host")
    secrets.prepare(config.secrets)
    asked = stop_asked()
    agent = LocalAgent(agent_config(config))
    server = ApiServer(application(agent, secrets.read(config.secrets, "control.token")), bind(host, port, "--port"))
    server.start()
    print(f"homeostat agent runs: http://{host}:{port}", file=sys.stderr)
    asked.wait()
    server.stop()
    agent.close()
