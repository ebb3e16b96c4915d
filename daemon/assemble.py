"""The loop put together: one straight line from the config to the ingest and the controller."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from adapters.base_shape import BaseShape, BaseUnusable, read_base_shape
from adapters.registry import Registry
from daemon.buffer_build import BufferBuilder
from daemon.config import Config
from daemon.controller import Controller
from daemon.controller import Parts as ControllerParts
from daemon.demonstrating import Demonstrating
from daemon.faults import ConfigError
from daemon.gate_task import GateTask
from daemon.ingest import Ingest, IngestPorts
from daemon.learning import Learning
from daemon.outlook import outlook
from daemon.query_watch import QueryWatch, check
from daemon.replier import ReplicaReplier
from daemon.residency import Residency
from daemon.rolling import Rolling
from daemon.rollout_start import RolloutStart
from daemon.routing import Routing
from daemon.runtime import Parts, Runtime
from daemon.shadow_task import ShadowTask
from daemon.soak_task import SoakTask
from daemon.store import versions
from daemon.token_check import TokenCheck
from daemon.version_rows import row_of
from deploy.agent import AgentConfig, LocalAgent, Replica
from deploy.driver import Driver
from deploy.kill_query import Answer, KillQuery
from deploy.prometheus_api import Prometheus
from monitors.gate import Nll
from monitors.metrics import Metrics
from monitors.watch import Watch
from streams.open_log import ensure_topics, open_source

TOPIC_PARTITIONS: Final = 4
"""Of topics that are not there yet: room for four gateways' worth of traffic, and for a session's order."""
BROKERS_DEFAULT: Final = -1
"""Replication is for whoever runs the brokers to decide."""


def assemble(runtime: Runtime) -> Parts:
    """The parts of one deployment's daemon. Raises ConfigError and the log's errors; opens no connection but the
    log's, and one to Prometheus where kill queries are to be checked.
    """
    config, store, clock = runtime.config, runtime.store, runtime.clock
    name = config.deployment.name
    registry, metrics = Registry(config.artifacts), Metrics(runtime.registry)
    base = _base_shape(config)
    if config.mode != "observe":
        ensure_topics(config.log, TOPIC_PARTITIONS, BROKERS_DEFAULT)
    identity = _identity(runtime, registry, base)
    agent = LocalAgent(_agent_config(config, runtime.secret("control.token")), base)
    ingest = Ingest(
        IngestPorts(
            deployment=name,
            store=store,
            source=open_source(config.log, acknowledges=config.mode != "observe"),
            join=config.join,
            make_watch=lambda parts: _watch(config, parts),
            token_is_valid=TokenCheck(runtime.secret("feedback.key")),
            clock=clock,
            metrics=metrics,
            tell_log=config.mode != "observe",
        )
    )
    routing = Routing(agent, name, config.deployment.alias, clock)
    residency = Residency(store, agent, name, clock)
    replier = _replier(config, runtime.secret("control.token"))
    soak = SoakTask(store, replier, name, clock).result
    base_names = tuple(n for n in (config.deployment.base_name, config.deployment.alias, identity) if n is not None)
    shadow = ShadowTask(store, replier, name, base_names, config.join.window_s, clock)
    rolling = Rolling(store, routing, residency, soak, name, clock, metrics, shadow)
    builder = BufferBuilder(config, store, config.artifacts, metrics, base_names)
    gate = GateTask(
        config.gate,
        agent,
        residency,
        replier,
        base_names,
        builder.holdout_file,
        lambda version: _nll(registry, version),
        lambda version: registry.manifest(version).kind != "demonstrations",
    )
    starter = RolloutStart(config, identity, lambda: routing.route, clock)
    learning = Learning(
        config,
        store,
        registry,
        builder,
        gate,
        starter.start,
        lambda cycle, result: outlook(store, name, cycle, result, clock()),
        ingest.newest_slice,
        clock,
        metrics,
        starter.second,
        Demonstrating(config, store, registry, base, identity),
    )

    def close() -> None:
        shadow.close()
        agent.close()

    controller = Controller(
        ControllerParts(
            config=config,
            store=store,
            registry=registry,
            agent=agent,
            ingest=ingest,
            routing=routing,
            residency=residency,
            rolling=rolling,
            learning=learning,
            base=base,
            identity=identity,
            clock=clock,
            close=close,
            metrics=metrics,
            troubles=runtime.troubles,
            queries=kill_queries(runtime, metrics),
        )
    )
    return Parts(ingest, controller)


def _base_shape(config: Config) -> BaseShape | None:
    if config.mode == "observe" or config.deployment.base_dir is None:
        return None
    try:
        return read_base_shape(config.deployment.base_dir)
    except BaseUnusable as error:
        raise ConfigError(f"deployment.base_dir: {error}") from error


def _identity(runtime: Runtime, registry: Registry, base: BaseShape | None) -> str | None:
    """The zero-effect version of this base, registered; it passes no gate and is never denied."""
    if base is None:
        return None
    deployment, training = runtime.config.deployment, runtime.config.training
    manifest = registry.admit_identity(
        base,
        deployment=deployment.name,
        tenant=deployment.tenant,
        rank=training.rank,
        alpha=training.alpha,
        targets=training.targets,
    )
    with runtime.store.begin() as tx:
        versions.register(tx, row_of(manifest, registry, runtime.clock()))
    return manifest.version


def kill_queries(runtime: Runtime, metrics: Metrics) -> QueryWatch | None:
    """Asks the Prometheus of the config; a rollout that runs has its own queries, frozen when it began, and they are
    put to its own Prometheus where the config names none any more. Raises ConfigError for a query that Prometheus
    refuses.
    """
    rollout = runtime.config.rollout
    if runtime.config.mode == "observe":
        return None
    unanswered: tuple[KillQuery, ...] = ()
    if rollout.prometheus_url is not None:
        unanswered = check(rollout, Prometheus(rollout.prometheus_url).ask)

    def ask(frozen: str | None, query: str) -> Answer:
        url = rollout.prometheus_url or frozen
        if url is None:
            return Answer(missing="not_asked", message="no rollout.prometheus_url says where to ask it")
        return Prometheus(url).ask(query)

    return QueryWatch(runtime.store, ask, runtime.clock, metrics, runtime.troubles, unanswered=unanswered)


def _agent_config(config: Config, control_token: Path) -> AgentConfig:
    return AgentConfig(
        replicas=tuple(Replica(name=r.name, url=r.url) for r in config.agent.replicas),
        artifacts=config.artifacts,
        route_file=config.route_file,
        control_token_file=control_token,
        base_name=config.deployment.base_name,
    )


def _replier(config: Config, control_token: Path) -> ReplicaReplier:
    first = config.agent.replicas[0].url if config.agent.replicas else "http://127.0.0.1:9"
    return ReplicaReplier(Driver(first, control_token.read_text().strip()))


def _watch(config: Config, parts: dict[str, bytes]) -> Watch:
    return Watch.load_parts(config.monitors, parts) if parts else Watch(config.monitors)


def _nll(registry: Registry, version: str) -> Nll | None:
    """The losses that the trainer measured on the champion's recorded replies."""
    metrics: dict[str, Any] = dict(registry.manifest(version).metrics)
    if "nll_champion" not in metrics or "nll_candidate" not in metrics:
        return None
    return Nll(champion=metrics["nll_champion"], candidate=metrics["nll_candidate"])
