"""Who serves while no replica has what should: the service is never taken down for want of its champion.

    champion serves ──no replica ready for champion_wait_s──> previous, else identity, else base stands in
                    <──────────some replica has it again─────

A replica without the version that the route names is not ready, which is right as long as another one is. When none is,
the route names a stand-in beside the version that it stands in for. Champion, stack, deny list and rollout stay as they
are; a rollout's share rests meanwhile, because there is nothing to compare the candidate with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from daemon import ledger
from daemon.residency import NOBODY
from daemon.route_write import Change, write
from daemon.routing import Overtaken, Routing
from daemon.standing import Standing
from daemon.store import Store
from deploy.agent import Observation

REASONS: Final = frozenset(
    {"base_serves", "champion_ready", "champion_back", NOBODY, "champion_awaited", "champion_away", "stand_in_serves"}
)
"""Every reason that ``decide`` can give."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision looks at; versions are names, None is the base."""

    wanted: str | None
    """What should serve everybody."""
    serving: str | None
    """What the route names: ``wanted``, or what stands in for it."""
    standing_in: bool
    stand_ins: tuple[str, ...]
    """In the order of preference: previous, identity."""
    ready: Mapping[str, int]
    """Version to the replicas that answer and have it proved."""
    alive: int


@dataclass(frozen=True, slots=True)
class Decision:
    """``change``: whether the route is to name ``serve`` instead; ``since``: how long what it names has been missed."""

    reason: str
    serve: str | None
    change: bool = False
    since: float | None = None


def decide(facts: Facts, since: float | None, wait_s: float, now: float) -> Decision:
    """What serves from now on. Pure; times are wall-clock seconds, a clock that was set back begins the wait anew."""
    wanted, serving = facts.wanted, facts.serving
    if wanted is None:
        return Decision("base_serves", None)
    if facts.ready.get(wanted):
        return Decision("champion_back" if facts.standing_in else "champion_ready", wanted, facts.standing_in)
    if not facts.alive:
        return Decision(NOBODY, serving)  # no route would help, and whoever comes back is given the champion first
    order: tuple[str | None, ...] = (*(v for v in facts.stand_ins if v != wanted), None)
    best = next(v for v in order if v is None or facts.ready.get(v))
    if facts.standing_in and (serving is None or facts.ready.get(serving)):
        better = serving not in order or order.index(best) < order.index(serving)
        return Decision("champion_away" if better else "stand_in_serves", best if better else serving, better)
    began = now if since is None or since > now else since
    if now - began < wait_s:
        return Decision("champion_awaited", serving, since=began)
    return Decision("champion_away", best, best != serving)


class StandIn:
    """Makes the route name a version that is there. Used by the controller's tick only.

    How long the champion has been missed is kept in memory: after a restart of the daemon the wait begins anew.
    """

    def __init__(
        self, store: Store, routing: Routing, deployment: str, wait_s: float, clock: Callable[[], float]
    ) -> None:
        self._store, self._routing, self._deployment = store, routing, deployment
        self._wait_s, self._clock = wait_s, clock
        self._since: float | None = None

    def tick(self, standing: Standing, seen: Observation, generation: int) -> str:
        """One look; at most one change of the route. The decision's reason. ``generation``: the routing's before the
        rows were read.
        """
        route, now = self._routing.route, self._clock()
        if route is None:
            return "base_serves"
        stand_ins = tuple(v for v in dict.fromkeys((standing.previous, standing.identity)) if v is not None)
        facts = Facts(
            route.wanted,
            route.control,
            route.stands_in_for is not None,
            stand_ins,
            _ready(seen, [v for v in (route.wanted, route.control, *stand_ins) if v is not None]),
            sum(r.alive for r in seen.replicas),
        )
        found = decide(facts, self._since, self._wait_s, now)
        self._since = found.since
        if found.change and facts.wanted is not None:
            self._serve(found, facts.wanted, facts.serving, generation)
        return found.reason

    def _serve(self, found: Decision, wanted: str, before: str | None, generation: int) -> None:
        stands_in_for = None if found.serve == wanted else wanted
        change = Change(self._deployment, found.serve, None, found.reason, stands_in_for=stands_in_for)
        try:
            ack = write(self._store, self._routing, self._deployment, change, generation, self._clock, "stand_in")
        except Overtaken:
            return  # looked at again in the next tick
        data = {"version": wanted, "from": before, "to": found.serve, "epoch": ack.epoch}
        with self._store.begin() as tx:
            ledger.append(
                tx, self._deployment, "stand_in", wanted, found.reason, actor="daemon", at=self._clock(), data=data
            )


def _ready(seen: Observation, versions: Sequence[str]) -> Mapping[str, int]:
    proved = [r.proved for r in seen.replicas if r.alive]
    return {v: len([1 for known in proved if known.get(v)]) for v in versions}
