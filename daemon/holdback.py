"""The standing holdback: whether sessions are held back, on which version, and since when.

    off ──share > 0, promoted, anchor resident──> held ──anchor denied, share 0, anchor serves──> ended

Level-triggered: each tick says what should hold now and changes the route at most once. The record of it (id, anchor,
share, since when) is a state of the store, written before the route; ``daemon.lift`` reads it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

import orjson

from daemon import ledger
from daemon.route_write import hold
from daemon.routing import Overtaken, Routing
from daemon.sections import HoldbackConfig
from daemon.store import Read, Store, Tx, denials, states, versions
from deploy.agent import Observation
from deploy.routes import Holdback

STATE: Final = "holdback"


@dataclass(frozen=True, slots=True)
class Record:
    """The newest holdback; times are wall-clock seconds, None while it has not begun or not ended."""

    id: str
    anchor: str
    share: float
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the decision looks at."""

    champion: str | None
    anchor: str | None
    accepted: bool
    """Whether the anchor was promoted, or is the identity version."""
    denied: bool
    """Whether the anchor is denied, or the one that sessions are held back on now, which a config may have changed."""
    resident: bool
    """Whether every replica that answers holds and proved it, and the champion too: a route names both anew (A1)."""
    held: bool
    """Whether a holdback on this anchor and share is in the route."""
    paused: bool = False


def decide(config: HoldbackConfig, facts: Facts) -> tuple[bool, str]:
    """Whether sessions are to be held back, and the named reason. Pure.

    A replica that lost the anchor does not end what runs: there the gateway answers from the champion, and the replica
    gets the anchor back.
    """
    for stops, reason in (
        (config.share <= 0.0, "holdback_off"),
        (facts.champion is None, "nothing_promoted"),
        (facts.anchor is None or not facts.accepted, "anchor_not_accepted"),
        (facts.denied, "anchor_denied"),
        (facts.anchor == facts.champion, "anchor_serves"),
        (facts.paused and not facts.held, "paused"),
        (not facts.resident and not facts.held, "not_resident"),
    ):
        if stops:
            return False, reason
    return True, "holdback_held" if facts.held else "holdback_started"


def record(read: Read) -> Record | None:
    """The newest holdback; None when there never was one."""
    stored = states.get(read, STATE)
    return None if stored is None else Record(**orjson.loads(stored))


class Holding:
    """Makes the route hold back what the config asks for. Used by the controller's tick only."""

    def __init__(
        self,
        config: HoldbackConfig,
        store: Store,
        routing: Routing,
        deployment: str,
        identity: str | None,
        clock: Callable[[], float],
    ) -> None:
        self._config, self._store, self._routing = config, store, routing
        self._deployment, self._identity, self._clock = deployment, identity, clock

    def resident(self, champion: str | None) -> str | None:
        """Version to keep on every replica for this; None while nothing is to be held back."""
        anchor = self._config.anchor or self._identity
        if self._config.share <= 0.0 or champion is None or anchor is None:
            return None
        with self._store.read() as read:
            return anchor if self._accepted(read, anchor) and not denials.is_denied(read, anchor) else None

    def tick(self, champion: str | None, seen: Observation, paused: bool, generation: int) -> None:
        """One look; at most one change of the route. ``generation``: the routing's before any row was read, so that a
        version which a rollback is leaving is never taken for an anchor; a route changed since is looked at later.
        """
        route = self._routing.route
        if route is None:
            return
        anchor = self._config.anchor or self._identity
        current = route.holdback
        with self._store.read() as read:
            known = record(read)
            facts = Facts(
                champion,
                anchor,
                anchor is not None and self._accepted(read, anchor),
                any(denials.is_denied(read, v) for v in (anchor, None if current is None else current.anchor) if v),
                _resident(seen, anchor, champion),
                current is not None and (current.anchor, current.share) == (anchor, self._config.share),
                paused,
            )
        held, reason = decide(self._config, facts)
        if not held or anchor is None:
            control = route.control
            hasty = current is not None and control is not None and not _resident(seen, control)
            if hasty and reason != "anchor_denied":
                return  # a route names its control anew, so it waits until that is proved everywhere (A1)
            self._end(current, known, reason, generation)
        elif facts.held and current is not None:
            self._began(current, known)
        else:
            self._begin(anchor, known, reason, generation)

    def _accepted(self, read: Read, anchor: str) -> bool:
        if anchor == self._identity:
            return True
        row = versions.get(read, anchor)
        return row is not None and row.deployment == self._deployment and row.promoted_at is not None

    def _begin(self, anchor: str, known: Record | None, reason: str, generation: int) -> None:
        """The record first, then the route: a restart between them finds its id again."""
        same = known is not None and (known.anchor, known.share) == (anchor, self._config.share)
        if known is None or not same or known.started_at is not None:
            known = Record(f"holdback-{uuid.uuid4().hex[:10]}", anchor, self._config.share)
            with self._store.begin() as tx:
                self._put(tx, known)
        wanted = Holdback(id=known.id, anchor=anchor, share=self._config.share)
        if self._write(wanted, reason, generation):
            self._began(wanted, known)

    def _began(self, current: Holdback, known: Record | None) -> None:
        """Note since when, once; also what was found in the route without a record."""
        if known is not None and known.id == current.id and known.started_at is not None and known.ended_at is None:
            return
        now = self._clock()
        with self._store.begin() as tx:
            self._put(tx, Record(current.id, current.anchor, current.share, started_at=now))
            data = {"version": current.anchor, "share": current.share, "epoch": self._routing.epoch}
            self._tell(tx, current.id, "holdback_started", data, now)

    def _end(self, current: Holdback | None, known: Record | None, reason: str, generation: int) -> None:
        if current is not None and not self._write(None, reason, generation):
            return
        if known is None or known.started_at is None or known.ended_at is not None:
            return
        now = self._clock()
        with self._store.begin() as tx:
            self._put(tx, replace(known, ended_at=now))
            self._tell(tx, known.id, reason, {"version": known.anchor, "epoch": self._routing.epoch}, now)

    def _write(self, wanted: Holdback | None, reason: str, generation: int) -> bool:
        try:
            hold(self._store, self._routing, self._deployment, wanted, reason, generation, self._clock)
        except Overtaken:
            return False
        return True

    def _put(self, tx: Tx, known: Record) -> None:
        states.put(tx, STATE, orjson.dumps(asdict(known)), self._clock())

    def _tell(self, tx: Tx, subject: str, reason: str, data: Mapping[str, object], now: float) -> None:
        ledger.append(tx, self._deployment, "holdback", subject, reason, actor="daemon", at=now, data=data)


def _resident(seen: Observation, *versions: str | None) -> bool:
    alive = [r for r in seen.replicas if r.alive]
    return bool(alive) and all(v is not None and r.proved.get(v) for r in alive for v in versions)
