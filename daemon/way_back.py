"""A rollback's route: what is left, where it goes, and the one write that does it, before any row is touched.

Where somebody is faster, at the host or by another command, his route decides anew, so that one wish does not go back
twice, and nobody's newer route is written over by what was decided before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from daemon.api.ports import By
from daemon.faults import Refused
from daemon.routing import Overtaken, Routing, View, places_left
from daemon.standing import Standing
from deploy.agent import Observation, RouteAck
from deploy.routes import Route

RACES: Final = 5
"""Times that a rollback looks again because somebody was faster."""


@dataclass(frozen=True, slots=True)
class Went:
    """What a rollback came to."""

    gone: tuple[str, ...]
    """Versions that are left for good, the one that served (or was on trial) first."""
    target: str | None
    """What serves now, or what something stands in for."""
    ack: RouteAck
    """No gateways: somebody at the host had done it already, and nothing was written."""
    standing: Standing
    """As it was when the route was written."""


def go_back(
    routing: Routing, standing: Standing, seen: Observation, by: By, to: str | None, look: Callable[[], Standing]
) -> Went:
    """Write the route of a rollback; ``to`` None: to the nearest target. ``look`` takes over what the host has and
    gives the standing after that. Raises Refused.

    The route's reason names all that is left: it is the record until the rows are written.
    """
    wanted: str | None = None
    for _ in range(RACES):
        at = routing.view()
        route = at.route
        stack = (standing.champion, *standing.targets)
        standing = standing.as_routed(route)
        trial = standing.in_trial(route)
        # what was left already is on trial by its rows alone, which a failing store did not end
        candidate = None if trial in at.unrecorded else trial
        if wanted not in (None, candidate) and to is None and (route is None or wanted not in _named(route)):
            served = None if route is None else route.wanted
            gone = _gone((wanted, *_unseen(stack, at, wanted)), at, served, standing)
            return Went(gone, served, RouteAck(at.epoch, {}, routing.now(), 0.0), standing)
        left, target = standing.way_back(
            candidate, to, in_rollout=candidate is not None, nearest=lambda targets: _nearest(seen, targets)
        )
        # a rollout that rests goes back to the control that nobody has: what stands in for it goes on
        rests = route is not None and to is None and target is not None and route.stands_in_for == target
        serves = route.control if route is not None and rests else target
        if to is not None and not _resident(seen, target):
            raise Refused(
                "target_not_resident",
                f"{target} is not resident on every replica: it must be loaded and proved before it can serve",
            )
        gone = _gone(standing.leaving(left, target, named=to is not None), at, target, standing)
        try:
            ack = routing.serve(
                serves,
                None,
                generation=at.generation,
                actor=by.actor,
                reason=f"rollback:{','.join(gone)}",
                leaving=gone,
                stands_in_for=target if rests else None,
            )
        except Overtaken:
            wanted = wanted or left
            standing = look()
            continue
        return Went(gone, target, ack, standing)
    raise Refused("not_now", "others keep changing the route of this host: look at the status, then try again")


def _unseen(stack: Sequence[str | None], at: View, wanted: str) -> list[str]:
    """Between what was to be left and what the host's newest step left there may be steps that nobody saw."""
    named = places_left(stack, "" if at.file is None else at.file.reason)
    if not named or wanted not in stack:
        return []
    return [version for version in stack[stack.index(wanted) : max(named) + 1] if version is not None]


def _gone(left: Sequence[str], at: View, target: str | None, standing: Standing) -> tuple[str, ...]:
    """What was left, now and by rollbacks whose rows are still to be written: this one's rows are theirs too."""
    every = dict.fromkeys((*left, *at.unrecorded))
    return tuple(version for version in every if version not in (target, standing.identity))


def _resident(seen: Observation, version: str | None) -> bool:
    alive = [r for r in seen.replicas if r.alive]
    return version is None or (bool(alive) and all(r.proved.get(version) for r in alive))


def _nearest(seen: Observation, targets: Sequence[str]) -> str | None:
    """The newest target that some replica can serve at once; the others load it at the next tick. Proved ones first: an
    agent that was restarted proves again what is loaded, and has no word against it until then.
    """
    for unproved in (False, True):
        for version in targets:
            if any(r.alive and version in r.models and r.proved.get(version, unproved) for r in seen.replicas):
                return version
    return next(iter(targets), None)


def _named(route: Route) -> tuple[str | None, ...]:
    """What a route gives weight, or would."""
    held = None if route.holdback is None else route.holdback.anchor
    return (route.control, route.wanted, None if route.split is None else route.split.candidate, held)
