"""What the host's route file says that the store does not know yet: our own unfinished writes, or somebody's rollback.

The route file is the record of a rollback (route first, rows later). At start, and at every tick, a route with a
higher epoch than the store's is taken over: an intent of ours that it fulfils is settled; anything else was a
rollback, by a person at the agent or by us just before a crash, and the versions it left are denied.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from daemon import ledger
from daemon.denial import deny, suspend
from daemon.live_evidence import MOST_UNITS, intervals_of, restore
from daemon.routing import Routing, places_left
from daemon.store import Store, Tx, denials, fences, intents, rollouts, versions
from deploy.rollout import LIVE, Phase, Signal
from deploy.routes import Route, RouteFile
from deploy.verdict import HARM_REASONS, KILL_REASONS, VOID_REASONS, numbers, suspends
from streams.failpoints import failpoint

_SIGNALS: Final = {
    **dict.fromkeys(HARM_REASONS.values(), Signal.HARM),
    **dict.fromkeys(KILL_REASONS, Signal.KILL_SWITCH),
    **dict.fromkeys(VOID_REASONS, Signal.VOID),
}

BACK_FOUND: Final = "rollback_found_on_host"
ROUTE_FOUND: Final = "route_found_on_host"

_ROUTED: Final = (*LIVE, Phase.AWAITING_SECOND_PROBATION)
"""Phases in which the route names the candidate."""


def adopt(store: Store, routing: Routing, found: RouteFile | None, deployment: str, now: float) -> int:
    """Bring store and memory up to the route file that the host has; the routing's generation before the rows are read.

    Rows read after this agree with the routes of that generation: whoever changes the route by it undoes no rollback.
    """
    held = routing.view()
    routing.adopt(found)
    at = routing.view()
    with store.read() as read:
        known = fences.current(read, deployment)
    routing.above(known)
    if at.file is None or at.epoch <= known:
        routing.recorded(known)
        return at.generation
    before = held.route if held.epoch <= known else routing.known
    with store.begin() as tx:
        if fences.current(tx, deployment) >= at.epoch:
            return at.generation  # a command's thread recorded it meanwhile
        fences.adopt(tx, deployment, at.epoch, holder=at.file.actor, at=now)
        if at.route is not None and (is_way_back(at.file.reason) or not _ours(tx, at.route, now)):
            _take_over(tx, at.file, at.route, before, at.unrecorded, deployment, now)
    routing.recorded(at.epoch)
    failpoint("adoption.recorded")
    return at.generation


def is_way_back(reason: str) -> bool:
    """Whether a route's reason is that of a way back, which has no intent row: ``rollback:...``, ``rolled_back:...``.

    It may look like what an unfinished intent of ours asked for, and must not be taken for it.
    """
    return ":" in reason


def reconcile_intents(store: Store, routing: Routing, deployment: str, now: float) -> None:
    """Settle intents of rollouts that ended: nobody will finish them. Loads are level-triggered and done again if
    wanted.
    """
    with store.read() as read:
        active = rollouts.active(read, deployment)
        left = [i for i in intents.pending(read) if active is None or i.rollout != active.id]
    if not left:
        return
    with store.begin() as tx:
        for intent in left:
            intents.settle(tx, intent.id, "failed", reason="owner_ended", at=now)


def _ours(tx: Tx, route: Route, now: float) -> bool:
    """Whether the route is what a pending intent of ours asked for; it is settled then."""
    split = None if route.split is None else route.split.model_dump()
    for intent in intents.pending(tx):
        if intent.effect != "route" or intent.args.get("control") != route.control:
            continue
        wanted = intent.args.get("split")
        if (wanted is None) == (split is None) and (
            wanted is None or split is None or all(wanted[k] == split[k] for k in ("rollout", "candidate", "share"))
        ):
            intents.settle(tx, intent.id, "done", reason="found_on_host", at=now)
            return True
    return False


def _take_over(
    tx: Tx, file: RouteFile, route: Route, before: Route | None, missed: Sequence[str], deployment: str, now: float
) -> None:
    """Rows for a rollback that only the route file knows; ``missed`` was left by files that it was written over."""
    served = {route.wanted, None if route.split is None else route.split.candidate}
    reason = _named(file.reason)
    row = rollouts.active(tx, deployment)
    routed = row is not None and Phase(row.phase) in _ROUTED
    if row is not None and _ends(row, routed, served, route):
        stays = row.candidate in served and row.phase != Phase.SECOND_PROBATION.value
        target = Phase.ABORTED if stays or not routed else _ending(file.reason)
        rollouts.update_phase(tx, row.id, phase=target.value, reason=reason, at=now, data=row.data, ended=True)
        signal = _signal(reason, target)
        entry = {
            "from_phase": row.phase,
            "to_phase": target.value,
            "signal": signal.value,
            "candidate": row.candidate,
            "control": row.control,
            "epoch": file.epoch,
            "adopted": True,
            **{k: v for k, v in numbers(restore(tx, row).processes).items() if v == v},
            **intervals_of(tx, row, MOST_UNITS),
        }
        ledger.append(tx, deployment, "rollout", row.id, reason, actor=_actor(file), at=now, data=entry)
        if target is Phase.ROLLED_BACK:
            deny(tx, deployment, row.candidate, f"rolled_back:{reason}"[:100], _actor(file), now)
            if suspends(target, reason):
                suspend(tx, deployment, row.id, row.candidate, _actor(file), now)
    if routed and row is not None and route.wanted in (row.control, row.candidate):
        left: Sequence[str] = ()  # the candidate alone, or nobody: it was given everything by hand
    else:
        stack = [v.version for v in versions.promoted_stack(tx, deployment)]
        left = left_on_host(stack, file.reason, route.wanted, None if before is None else before.wanted)
    for version in dict.fromkeys((*missed, *left)):
        known = versions.get(tx, version)
        if version in served or known is None or known.kind == "identity" or denials.is_denied(tx, version):
            continue
        deny(tx, deployment, version, f"rolled_back:{reason}"[:100], _actor(file), now)
        data = {"from": version, "to": route.wanted, "epoch": file.epoch, "adopted": True}
        ledger.append(tx, deployment, "rollback", version, reason, actor=_actor(file), at=now, data=data)


def _ends(row: rollouts.Rollout, routed: bool, served: Collection[str | None], route: Route) -> bool:
    """Whether a rollout cannot go on from a route that was found: one of its versions serves nobody any more. A control
    that was left while the candidate keeps its share would be routed again.
    """
    if not routed:
        return row.control not in served
    return row.candidate not in served or (route.split is not None and route.wanted != row.control)


def left_on_host(stack: Sequence[str], reason: str, control: str | None, before: str | None) -> Sequence[str]:
    """Which promoted versions (``stack``, newest first) a route that was found has left. Pure.

    ``rollback:<versions>`` names what its own step left; steps before it may have gone unseen, so all from ``before``
    (what was last known to serve; None or ``control``: the top) down to those are left. Without names a person put
    ``control`` there himself: everything above it is.
    """
    named = places_left(stack, reason)
    if not named:
        return stack[: stack.index(control)] if control in stack else stack
    first = stack.index(before) if before in stack and before != control else 0
    return [version for version in stack[min(first, *named) : max(named) + 1] if version != control]


def _signal(reason: str, target: Phase) -> Signal:
    """The signal that led there, so that a replay of the ledger comes to the same phase."""
    if reason in _SIGNALS:
        return _SIGNALS[reason]
    ends = {Phase.INCONCLUSIVE: Signal.DEADLINE, Phase.ABORTED: Signal.ABORT}
    return ends.get(target, Signal.ROLLBACK)


def _ending(reason: str) -> Phase:
    """Routes that we write on the way back are named ``<phase>:<reason>``; a person's, ``rollback:<versions>``."""
    head = reason.partition(":")[0]
    return Phase(head) if head in (Phase.INCONCLUSIVE.value, Phase.ABORTED.value) else Phase.ROLLED_BACK


def _named(reason: str) -> str:
    head, _, tail = reason.partition(":")
    if head == "rollback":
        return BACK_FOUND
    return tail if head in {p.value for p in Phase} and tail else ROUTE_FOUND


def _actor(file: RouteFile) -> str:
    return file.actor[:64] or "unknown"
