"""The loop put together: from the config to the ingest and the controller, part by part."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Shared:
    """What the parts of one daemon have in common."""

    runtime: Runtime
    registry: Registry
    metrics: Metrics
    base: BaseShape | None
    identity: str | None
    agent: LocalAgent
    replier: ReplicaReplier
    routing: Routing
    residency: Residency

    @property
    def base_names(self) -> tuple[str, ...]:
        """Names under which the base answers, the identity version among them."""
        deployment = self.runtime.config.deployment
        return tuple(n for n in (deployment.base_name, deployment.alias, self.identity) if n is not None)


def assemble(runtime: Runtime) -> Parts:
    """The parts of one deployment's daemon. Raises ConfigError and the log's errors; opens no connection but the
    log's, and one to Prometheus where kill queries are to be checked.
    """
    config, clock = runtime.config, runtime.clock
    shared = _shared(runtime)
    ingest = _ingest(shared)
    shadow = _shadow(shared)

    def close() -> None:
        shadow.close()
        shared.agent.close()

    controller = Controller(
        ControllerParts(
            config=config,
            store=runtime.store,
            registry=shared.registry,
            agent=shared.agent,
            ingest=ingest,
            routing=shared.routing,
            residency=shared.residency,
            rolling=_rolling(shared, shadow),
            learning=_learning(shared, ingest),
            base=shared.base,
            identity=shared.identity,
            clock=clock,
            close=close,
            metrics=shared.metrics,
            troubles=runtime.troubles,
            queries=kill_queries(runtime, shared.metrics),
        )
    )
    return Parts(ingest, controller)


def _shared(runtime: Runtime) -> _Shared:
    config, clock, name = runtime.config, runtime.clock, runtime.config.deployment.name
    registry, base = Registry(config.artifacts), _base_shape(config)
    if config.mode != "observe":
        ensure_topics(config.log, TOPIC_PARTITIONS, BROKERS_DEFAULT)
    identity = _identity(runtime, registry, base)
    agent = LocalAgent(_agent_config(config, runtime.secret("control.token")), base)
    return _Shared(
        runtime=runtime,
        registry=registry,
        metrics=Metrics(runtime.registry),
        base=base,
        identity=identity,
        agent=agent,
        replier=_replier(config, runtime.secret("control.token")),
        routing=Routing(agent, name, config.deployment.alias, clock),
        residency=Residency(runtime.store, agent, name, clock),
    )


def _ingest(shared: _Shared) -> Ingest:
    """From the log to the store."""
    runtime, config = shared.runtime, shared.runtime.config
    return Ingest(
        IngestPorts(
            deployment=config.deployment.name,
            store=runtime.store,
            source=open_source(config.log, acknowledges=config.mode != "observe"),
            join=config.join,
            make_watch=lambda parts: _watch(config, parts),
            token_is_valid=TokenCheck(runtime.secret("feedback.key")),
            clock=runtime.clock,
            metrics=shared.metrics,
            tell_log=config.mode != "observe",
        )
    )


def _shadow(shared: _Shared) -> ShadowTask:
    runtime, config = shared.runtime, shared.runtime.config
    name, window_s = config.deployment.name, config.join.window_s
    return ShadowTask(runtime.store, shared.replier, name, shared.base_names, window_s, runtime.clock, shared.metrics)


def _rolling(shared: _Shared, shadow: ShadowTask) -> Rolling:
    """What drives a rollout."""
    store, clock, metrics = shared.runtime.store, shared.runtime.clock, shared.metrics
    name = shared.runtime.config.deployment.name
    soak = SoakTask(store, shared.replier, name, clock, metrics).result
    return Rolling(store, shared.routing, shared.residency, soak, name, clock, metrics, shadow)


def _learning(shared: _Shared, ingest: Ingest) -> Learning:
    """What drives a cycle, from alarm to rollout."""
    config, store, clock = shared.runtime.config, shared.runtime.store, shared.runtime.clock
    builder = BufferBuilder(config, store, config.artifacts, shared.metrics, shared.base_names)
    gate = GateTask(
        config.gate,
        shared.agent,
        shared.residency,
        shared.replier,
        shared.base_names,
        builder.holdout_file,
        lambda version: _nll(shared.registry, version),
        lambda version: shared.registry.manifest(version).kind != "demonstrations",
    )
    starter = RolloutStart(config, shared.identity, lambda: shared.routing.route, clock)
    return Learning(
        config,
        store,
        shared.registry,
        builder,
        gate,
        starter.start,
        lambda cycle, result: outlook(store, config.deployment.name, cycle, result, clock(), config.rollout),
        ingest.newest_slice,
        clock,
        shared.metrics,
        starter.second,
        Demonstrating(config, store, shared.registry, shared.base, shared.identity),
    )


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
