"""A change of the route as an intended effect: the intent's row, the route, then what became of it.

Every change but a way back is written like this, so that a restart finds its own unfinished route and settles it
(``daemon.adoption``).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from daemon import ledger
from daemon.routing import RESTORED, Overtaken, Routing
from daemon.store import Store, fences, intents
from deploy.agent import Observation, RouteAck
from deploy.routes import Holdback, Split
from streams.failpoints import failpoint


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be served, why, and on whose behalf (a rollout's or the deployment's name)."""

    owner: str
    control: str | None
    split: Split | None
    reason: str
    actor: str = "daemon"
    stands_in_for: str | None = None


def write(
    store: Store,
    routing: Routing,
    deployment: str,
    change: Change,
    generation: int,
    clock: Callable[[], float],
    place: str,
) -> RouteAck:
    """Change the route, unless somebody else did since ``generation``. ``place`` begins the names of the failpoints.

    Raises Overtaken.
    """

    def serve() -> RouteAck:
        return routing.serve(
            change.control,
            change.split,
            generation=generation,
            actor=change.actor,
            reason=change.reason,
            stands_in_for=change.stands_in_for,
        )

    return _intended(store, deployment, change, clock, place, serve)


def hold(
    store: Store,
    routing: Routing,
    deployment: str,
    holdback: Holdback | None,
    reason: str,
    generation: int,
    clock: Callable[[], float],
) -> RouteAck:
    """Begin or end a holdback; what else is routed stays. Needs a route. Raises Overtaken."""
    route = routing.route
    if route is None:
        raise Overtaken
    change = Change(deployment, route.control, route.split, reason)

    def serve() -> RouteAck:
        return routing.hold(holdback, generation=generation, actor=change.actor, reason=reason)

    return _intended(store, deployment, change, clock, "holdback", serve)


def restore(store: Store, routing: Routing, deployment: str, seen: Observation, now: float) -> None:
    """Write the newest file again where the host has lost it: a gateway that starts anew would serve what was routed
    before. Nothing happens while no replica answers, for then the agent may be away as well.
    """
    if not any(r.alive for r in seen.replicas):
        return
    try:
        if not routing.restore(seen.route):
            return
    except Overtaken:
        return
    data = {"epoch": routing.epoch}
    with store.begin() as tx:
        ledger.append(tx, deployment, "route", deployment, RESTORED, actor="daemon", at=now, data=data)


def _intended(
    store: Store,
    deployment: str,
    change: Change,
    clock: Callable[[], float],
    place: str,
    serve: Callable[[], RouteAck],
) -> RouteAck:
    args = {"control": change.control, "split": None if change.split is None else change.split.model_dump()}
    with store.begin() as tx:
        intent = intents.declare(tx, rollout=change.owner, effect="route", args=args, reason=change.reason, at=clock())
    failpoint(f"{place}.before_route")
    try:
        ack = serve()
    except Overtaken:
        with store.begin() as tx:
            intents.settle(tx, intent, "failed", reason="overtaken", at=clock())
        raise
    failpoint(f"{place}.after_route")
    with store.begin() as tx:
        intents.settle(tx, intent, "done", reason="acknowledged", at=clock())
        fences.adopt(tx, deployment, ack.epoch, holder=change.actor, at=clock())
    return ack
