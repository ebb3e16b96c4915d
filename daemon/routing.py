"""The one place from which the daemon changes what is served.

Holds the newest route file in memory, so that a rollback needs neither store nor log. Two threads write: the
controller's tick and the API's rollback. A tick that saw an older ``generation`` is refused, so a slow tick never
undoes a rollback.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple, Protocol

from deploy.agent import RouteAck
from deploy.driver_errors import StaleRoute
from deploy.routes import Holdback, Route, RouteFile, Split

RESTORED: Final = "restored_on_host"
"""The host had lost its route file, or held an older one."""


class RouteWriter(Protocol):
    """What routing needs of the agent."""

    def write_route(self, route: RouteFile) -> RouteAck:
        """Write the file, push it to the gateways, wait for their answers."""
        ...


class Overtaken(Exception):
    """Somebody changed the route since the caller looked: look again."""

    def __init__(self) -> None:
        super().__init__("somebody else changed the route meanwhile: look at the status, then try again")


class View(NamedTuple):
    """What is routed, as of one instant: who decides by it gives its ``generation`` back with the change."""

    generation: int
    file: RouteFile | None
    route: Route | None
    """Ours in the file."""
    unrecorded: tuple[str, ...]
    """Versions that rollbacks have left and whose rows are still to be written."""

    @property
    def epoch(self) -> int:
        """Of the file; 0 before the first."""
        return 0 if self.file is None else self.file.epoch


class Routing:
    """The route of one deployment."""

    def __init__(self, agent: RouteWriter, deployment: str, alias: str, clock: Callable[[], float]) -> None:
        self._agent, self._deployment, self._alias, self._clock = agent, deployment, alias, clock
        self._lock = threading.RLock()
        self._file: RouteFile | None = None
        self._route: Route | None = None
        """Ours in the file."""
        self._renewed_at = 0.0
        self._recorded = 0
        """Epoch up to which the rows know what became of the routes."""
        self._missed: tuple[str, ...] = ()
        """Left by files between that epoch's and the newest one."""
        self._known: Route | None = None
        """The route of the epoch that is recorded."""
        self._floor = 0
        """Every route that is written has a higher epoch."""
        self.generation = 0

    @property
    def file(self) -> RouteFile | None:
        """The newest route file; None before the first."""
        return self._file

    @property
    def route(self) -> Route | None:
        """Our route in it."""
        return self._route

    def now(self) -> float:
        """Wall-clock seconds."""
        return self._clock()

    @property
    def epoch(self) -> int:
        """Its epoch; 0 before the first."""
        return 0 if self._file is None else self._file.epoch

    def view(self) -> View:
        """All of it at once."""
        with self._lock:
            return View(self.generation, self._file, self._route, self.unrecorded)

    def adopt(self, found: RouteFile | None) -> None:
        """Take over what lies on the host, when it is newer than what we hold."""
        with self._lock:
            if found is not None and found.epoch > self.epoch:
                before = None if self._route is None else self._route.wanted
                ours = found.route(self._alias)
                if ours is None and left_by(found.reason):  # back to the base, by taking the alias away
                    ours = Route(deployment=self._deployment, alias=self._alias, control=None)
                self._hold(found, ours)
                self.generation += 1
                moved = self._route is not None and self._route.wanted != before
                if moved and before is not None and left_by(found.reason):
                    # its own step may have begun below what served when we last looked
                    self._missed = (*self._missed, before)

    @property
    def unrecorded(self) -> tuple[str, ...]:
        """Versions that rollbacks have left and whose rows are still to be written: a failing store keeps the route
        file as their only record, and a second rollback writes another file over it.
        """
        with self._lock:
            left = () if self._file is None or self._file.epoch <= self._recorded else left_by(self._file.reason)
            return tuple(dict.fromkeys((*self._missed, *left))) if left else self._missed

    def recorded(self, epoch: int) -> None:
        """The rows know of everything up to the file of this epoch."""
        with self._lock:
            if epoch >= self.epoch:
                self._recorded, self._missed, self._known = epoch, (), self._route

    @property
    def known(self) -> Route | None:
        """The route of the newest epoch that was recorded."""
        return self._known

    def above(self, epoch: int) -> None:
        """Every route that is written from now on has a higher one, also where the host has lost its file."""
        with self._lock:
            self._floor = max(self._floor, epoch)

    def restore(self, found: RouteFile | None) -> bool:
        """Write the newest file once more where the host has lost it, or has an older one; whether it did.

        A file whose rollback is still to be recorded is left to that. Raises Overtaken.
        """
        with self._lock:
            if self._file is None or self.unrecorded or (found is not None and found.epoch >= self.epoch):
                return False
            try:
                self._agent.write_route(self._file)
            except StaleRoute as error:
                raise Overtaken from error
            return True

    def serve(
        self,
        control: str | None,
        split: Split | None,
        *,
        generation: int,
        actor: str,
        reason: str,
        leaving: Collection[str] = (),
        stands_in_for: str | None = None,
    ) -> RouteAck:
        """Change what is served, unless somebody else did since ``generation``. Raises Overtaken.

        The caller has the next generation afterwards: ``generation + 1``. A holdback stays, unless its
        anchor is among what is ``leaving`` (what is rolled back or passed over serves nobody) or serves everybody from
        now on, other than for a while: as the control of a split, or for a version that no replica has.
        """
        with self._lock:
            if generation != self.generation:
                raise Overtaken
            held = None if self.route is None else self.route.holdback
            for_a_while = stands_in_for is not None or split is not None
            gone = leaving if for_a_while else (*leaving, control)
            kept = None if held is None or held.anchor in gone else held
            names = {"deployment": self._deployment, "alias": self._alias}
            live = self._alive(split)
            route = Route(**names, control=control, split=live, holdback=kept, stands_in_for=stands_in_for)
            ack = self._write(max(self.epoch, self._floor) + 1, route, actor, reason)
            self.generation += 1
            return ack

    def hold(self, holdback: Holdback | None, *, generation: int, actor: str, reason: str) -> RouteAck:
        """Begin or end a holdback; control and split stay. Needs a route. Raises Overtaken."""
        with self._lock:
            route = self.route
            if route is None or generation != self.generation:
                raise Overtaken
            new = route.model_copy(update={"holdback": holdback, "split": self._alive(route.split)})
            ack = self._write(max(self.epoch, self._floor) + 1, new, actor, reason)
            self.generation += 1
            return ack

    def renew(self, every_s: float) -> bool:
        """Renew the lease of a split when ``every_s`` went by since the last time; whether it did. Raises Overtaken."""
        with self._lock:
            route, file = self.route, self._file
            if route is None or file is None or route.split is None:
                return False
            if 0.0 <= self._clock() - self._renewed_at < every_s:  # below zero: the clock was set back
                return False
            split = route.split.model_copy(update={"lease_seq": route.split.lease_seq + 1})
            self._write(file.epoch, route.model_copy(update={"split": split}), file.actor, file.reason)
            return True

    def _alive(self, split: Split | None) -> Split | None:
        """A changed share of the same rollout is a sign of life too: its lease goes on from the newest renewal."""
        before = None if self.route is None else self.route.split
        if split is None or before is None or before.rollout != split.rollout:
            return split
        return split.model_copy(update={"lease_seq": before.lease_seq + 1})

    def _write(self, epoch: int, route: Route, actor: str, reason: str) -> RouteAck:
        now = self._clock()
        others = () if self._file is None else tuple(r for r in self._file.routes if r.alias != self._alias)
        file = RouteFile(epoch=epoch, actor=actor, reason=reason, written_at=now, routes=(*others, route))
        try:
            ack = self._agent.write_route(file)
        except StaleRoute as error:
            raise Overtaken from error
        self._hold(file, route)
        self._renewed_at = now
        return ack

    def _hold(self, file: RouteFile, route: Route | None) -> None:
        if file.epoch > self.epoch:
            self._missed = self.unrecorded
        self._file, self._route = file, route


def left_by(reason: str) -> tuple[str, ...]:
    """The versions that a route file's reason says were left: ``rollback:<version>,<version>``."""
    head, _, tail = reason.partition(":")
    return tuple(v for v in tail.split(",") if v) if head == "rollback" else ()


def places_left(stack: Sequence[str | None], reason: str) -> list[int]:
    """Where in a stack of versions those stand that a route file's reason names."""
    return [stack.index(version) for version in left_by(reason) if version in stack]
