"""The routes that a gateway holds, and when their leases end.

``adopt`` is the pure decision; ``RouteHolder`` swaps one reference under a lock, so that readers on the event loop see
the old table or the new one and never a mixture. Deadlines are counted on this process's monotonic clock: a share that
is found in the file at start has no deadline yet and is dead until its writer renews it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf
from types import MappingProxyType
from typing import Final

from deploy.gateway.demonstrations import Shown
from deploy.routes import Route, RouteFile

NOTHING: Final[Mapping[str, Shown]] = MappingProxyType({})


class Adoption(StrEnum):
    """What became of a route file that was read or pushed."""

    FIRST = "first"
    NEWER_EPOCH = "newer_epoch"
    RENEWED = "renewed"
    SAME = "same"
    STALE_EPOCH = "stale_epoch"
    STALE_LEASE = "stale_lease"
    CONFLICT = "conflict"
    """Same epoch, other routes: two writers. The one we hold stays."""

    @property
    def held(self) -> bool:
        """True when the file is what the gateway now serves by."""
        return self in (Adoption.FIRST, Adoption.NEWER_EPOCH, Adoption.RENEWED, Adoption.SAME)


@dataclass(frozen=True, slots=True)
class Held:
    """A route file with the monotonic second at which each alias's lease ends (-inf: dead)."""

    file: RouteFile
    routes: Mapping[str, Route]
    deadlines: Mapping[str, float]
    shown: Mapping[str, Shown] = field(default_factory=lambda: NOTHING)
    """Versions of the file that show examples."""

    def live(self, alias: str, monotonic: float) -> bool:
        """Whether the share of an alias may be used now."""
        return monotonic < self.deadlines.get(alias, -inf)


def adopt(held: Held | None, new: RouteFile, monotonic: float, witnessed: bool) -> tuple[Held | None, Adoption]:
    """The table after ``new`` was seen; ``witnessed``: it was written while we looked, and not found at start."""
    if held is None:
        return _take(None, new, monotonic, witnessed), Adoption.FIRST
    if new.epoch != held.file.epoch:
        if new.epoch < held.file.epoch:
            return held, Adoption.STALE_EPOCH
        return _take(held, new, monotonic, witnessed), Adoption.NEWER_EPOCH
    if _without_leases(new) != _without_leases(held.file):
        return held, Adoption.CONFLICT
    steps = [_seq(route) - _seq(held.routes[route.alias]) for route in new.routes]
    if any(step < 0 for step in steps):
        return held, Adoption.STALE_LEASE
    if not any(steps):
        return held, Adoption.SAME
    return _take(held, new, monotonic, witnessed), Adoption.RENEWED


def _take(held: Held | None, new: RouteFile, monotonic: float, witnessed: bool) -> Held:
    deadlines: dict[str, float] = {}
    for route in new.routes:
        if route.split is None:
            continue
        before = held.routes.get(route.alias) if held else None
        renewed = before is None or before.split is None or before.split.rollout != route.split.rollout
        renewed = renewed or _seq(route) > _seq(before)
        if not renewed and held:
            # A higher epoch for another alias's sake is no sign of life from this rollout's owner.
            deadlines[route.alias] = held.deadlines.get(route.alias, -inf)
        else:
            deadlines[route.alias] = monotonic + route.split.lease_s if witnessed else -inf
    return Held(new, {route.alias: route for route in new.routes}, deadlines)


def _seq(route: Route | None) -> int:
    return route.split.lease_seq if route and route.split else -1


def _without_leases(file: RouteFile) -> tuple[tuple[object, ...], ...]:
    rows: list[tuple[object, ...]] = []
    for route in file.routes:
        split = route.split
        share = (split.rollout, split.candidate, split.share) if split else None
        rows.append((route.deployment, route.alias, route.control, share, route.holdback))
    return tuple(rows)


class RouteHolder:
    """The current table of one gateway, fed by the file watcher's thread and by pushes on the event loop."""

    def __init__(
        self, monotonic: Callable[[], float], shown: Callable[[RouteFile], Mapping[str, Shown]] = lambda _file: NOTHING
    ) -> None:
        """``shown`` reads the pairs of the versions that a file names; it never raises."""
        self._monotonic, self._shown = monotonic, shown
        self._lock = threading.Lock()
        self._held: Held | None = None

    @property
    def held(self) -> Held | None:
        """What is served by now; one reference, safe from any thread."""
        return self._held

    def offer(self, new: RouteFile, witnessed: bool) -> Adoption:
        """Adopt ``new`` if it is newer. On return every later choice goes by what is held."""
        shown = self._shown(new)
        with self._lock:
            held, adoption = adopt(self._held, new, self._monotonic(), witnessed)
            if held is not None and held.file is new:
                held = replace(held, shown=shown)
            self._held = held
            return adoption

    def read_again(self) -> None:
        """Read the pairs of the table in force once more: what could not be read when it was adopted may be there."""
        held = self._held
        shown = NOTHING if held is None else self._shown(held.file)
        with self._lock:
            if held is not None and self._held is held:
                self._held = replace(held, shown=shown)

    def lease_live(self, alias: str) -> bool:
        """Whether the share of an alias may be used at this instant."""
        held = self._held
        return held is not None and held.live(alias, self._monotonic())
