"""Daemons with something to go back to, and what their host, store and deny list say afterwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import OperationalError

from daemon.controller import Controller
from daemon.store import StoreUnavailable, denials
from deploy.rollout import Phase
from deploy.routes import Route, RouteFile
from monitors.gate import GateReason, GateResult
from tests.daemon.loop_bench import OLD, LoopBench

OLDEST = "support-999999999999"


def started(bench: LoopBench, *stack: str) -> Controller:
    """A daemon with promoted versions, the newest of which serves; one tick old."""
    bench.register(*stack, promoted=True)
    bench.host.write_route(route_file(1, stack[-1], "promoted"))
    controller, _ = bench.daemon()
    controller.tick()
    return controller


def in_canary(bench: LoopBench) -> Controller:
    """A daemon whose newest version has a share beside a promoted one."""
    bench.register(OLDEST, OLD, promoted=True)
    bench.host.write_route(route_file(1, OLD, "promoted"))
    bench.open_rollout(control=OLD)
    controller, _ = bench.daemon()
    for _ in range(8):
        controller.tick()
        bench.now += 10.0
    assert bench.phase() is Phase.CANARY_SMALL
    return controller


def route_file(epoch: int, control: str, reason: str) -> RouteFile:
    """Everything to one version."""
    route = Route(deployment="support", alias="support", control=control)
    return RouteFile(epoch=epoch, actor="operator", reason=reason, written_at=0.0, routes=(route,))


def serving(bench: LoopBench) -> str | None:
    """What the host's route file names."""
    route = None if bench.host.route is None else bench.host.route.route("support")
    assert route is not None
    return route.control


def denied(bench: LoopBench) -> set[str]:
    """The deny list."""
    with bench.store.read() as read:
        return set(denials.of_deployment(read, "support"))


def fails(*_args: object, **_more: object) -> None:
    """As a full disk does."""
    raise OperationalError("COMMIT", {}, Exception("database or disk is full"))


def once(works: Callable[..., None]) -> Callable[..., None]:
    """Fails the first time and works from then on."""
    failing = [True]

    def act(*args: Any, **more: Any) -> None:
        if failing:
            failing.pop()
            fails()
        works(*args, **more)

    return act


def no_store(*_args: object, **_more: object) -> None:
    """As a store that went away does."""
    raise StoreUnavailable("gone")


class PassedGate:
    """A gate that has examined everything and found it good."""

    def result(self, _cycle: object, _version: str, _champion: object) -> GateResult:
        """At once."""
        return GateResult(verdict="pass", reason=GateReason.PASSED, checks=())
