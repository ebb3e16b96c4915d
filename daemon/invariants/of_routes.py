"""R1 to R4: who writes routes, when there is a share, where one can go back to, what is never served again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from daemon.invariants.facts import Facts, split_of, weighted
from daemon.routing import left_by
from deploy.rollout import LIVE, SECONDS, Phase
from deploy.routes import Route, RouteFile, Split


def one_rollout_one_epoch(facts: Facts) -> Iterator[str]:
    """R1."""
    active = [r.id for r in facts.rollouts if r.active]
    if len(active) > 1:
        yield f"{len(active)} active rollouts: {active}"
    for before, after in pairwise(facts.written[max(0, facts.written_from - 1) :]):
        old, new = before.file, after.file
        if new.epoch < old.epoch or (new.epoch == old.epoch and not _renewal(old, new)):
            yield f"epoch {new.epoch} ({new.actor}, {new.reason}) after {old.epoch} ({old.actor}, {old.reason})"
    epoch = 0 if facts.file is None else facts.file.epoch
    if facts.fence > epoch:
        yield f"the store's epoch {facts.fence} is above the host's {epoch}"
    for replica in facts.replicas:
        if replica.epoch > epoch:
            yield f"{replica.name} holds epoch {replica.epoch}, the host {epoch}"


def _renewal(old: RouteFile, new: RouteFile) -> bool:
    """Whether only the age of leases differs, and none is older."""
    if len(old.routes) != len(new.routes):
        return False
    for a, b in zip(old.routes, new.routes, strict=True):
        if a.split is None or b.split is None:
            if a != b:
                return False
        elif _without_lease(a, a.split) != _without_lease(b, b.split) or b.split.lease_seq < a.split.lease_seq:
            return False
    return True


def _without_lease(route: Route, split: Split) -> dict[str, object]:
    return {**vars(route), "split": {**vars(split), "lease_seq": None}}


def weight_only_in_a_rollout(facts: Facts) -> Iterator[str]:
    """R2."""
    split = split_of(facts.file, facts.alias)
    if split is None:
        return
    row = next((r for r in facts.rollouts if r.active), None)
    if row is None or row.id != split.rollout:
        yield f"{split.candidate} has {split.share} for {split.rollout}; active is {None if row is None else row.id}"
    elif Phase(row.phase) not in LIVE or row.candidate != split.candidate:
        yield f"{split.candidate} has {split.share} while {row.id} of {row.candidate} is {row.phase}"


def a_way_back_is_resident(facts: Facts) -> Iterator[str]:
    """R3."""
    file = facts.file
    route = None if file is None else file.route(facts.alias)
    if route is None or route.control is None or facts.identity is None:
        return
    nearest = facts.identity if route.split is None else route.control
    for replica in facts.replicas:
        if not (replica.settled and replica.ready) or nearest in replica.holds:
            continue
        targets = {nearest} if route.split is not None else {nearest, *_below_in_stack(facts, route.control)}
        if not targets & replica.holds:
            yield f"{replica.name} serves {route.control} and holds none of {sorted(targets)}"


def _below_in_stack(facts: Facts, control: str) -> list[str]:
    promoted = [v for v in facts.versions.values() if v.status == "promoted" and v.kind != "identity"]
    stack = [v.version for v in sorted(promoted, key=lambda v: v.promoted_at or 0.0, reverse=True)]
    return stack[stack.index(control) + 1 :] if control in stack else stack


def never_again(facts: Facts) -> Iterator[str]:
    """R4."""
    leads = _leads(facts.file, facts.alias)
    for version in weighted(facts.file, facts.alias):
        # an anchor that was denied by what the host's route showed is let go within that tick
        if version in facts.denied and (version in leads or facts.ticked):
            yield f"{version} is denied and has weight"
    route = None if facts.file is None else facts.file.route(facts.alias)
    if facts.file is not None and route is not None and route.holdback is not None:
        head, _, gone = facts.file.reason.partition(":")
        if head == "rollback" and route.holdback.anchor in gone.split(","):
            yield f"{route.holdback.anchor} is left and keeps its sessions in the same write"
    if facts.written_from < len(facts.written):
        yield from _left_and_back(facts)
        yield from _left_by_name(facts)
    yield from _named_and_denied(facts)
    yield from _learned_from_suspended(facts)


def _left_and_back(facts: Facts) -> Iterator[str]:
    """By the route files alone, which know of a rollback before any row does."""
    left: dict[str, int] = {}
    before: list[str] = []
    for number, written in enumerate(facts.written):
        served = weighted(written.file, facts.alias)
        head = written.file.reason.partition(":")[0]
        if head in ("rollback", Phase.ROLLED_BACK.value):
            left |= {version: written.file.epoch for version in before if version not in served}
        if number >= facts.written_from:
            for version in served:
                if version in left and version != facts.identity:
                    yield f"{version} was left at epoch {left[version]} and is back at {written.file.epoch}"
        before = _leads(written.file, facts.alias)


def _left_by_name(facts: Facts) -> Iterator[str]:
    """A rollback of ours names the candidate, or what should have served, where it serves no more."""
    for before, after in pairwise(facts.written[max(0, facts.written_from - 1) :]):
        old, new = before.file.route(facts.alias), after.file.route(facts.alias)
        if old is None or new is None or after.seen or not after.file.reason.startswith("rollback:"):
            continue
        version = old.wanted if old.split is None else old.split.candidate
        if version not in (None, new.wanted, *left_by(after.file.reason)):
            yield f"{version} is left at epoch {after.file.epoch} ({after.file.reason}) and not named"


def _named_and_denied(facts: Facts) -> Iterator[str]:
    """Where the store knows of a route file, it knows of what that file has left."""
    for written in facts.written:
        for version in left_by(written.file.reason) if written.file.epoch <= facts.fence else ():
            if version in facts.versions and version not in facts.denied and not _approved(facts, version):
                yield f"{version} was left at epoch {written.file.epoch} and is not denied at {facts.fence}"


def _approved(facts: Facts, version: str) -> bool:
    return any(entry.kind == "approval" and entry.subject == version for entry in facts.ledger)


def _leads(file: RouteFile | None, alias: str) -> list[str]:
    """What a rollback can leave: candidate, control and what the control stands in for, but no anchor, which a person
    at the host drops without a word against it.
    """
    route = None if file is None else file.route(alias)
    if route is None:
        return []
    named = (route.control, route.wanted, None if route.split is None else route.split.candidate)
    return [version for version in dict.fromkeys(named) if version is not None]


def _learned_from_suspended(facts: Facts) -> Iterator[str]:
    """In the ledger's order: what was suspended before a rollout began. Second probations try what serves already."""
    if facts.ledger_from >= len(facts.ledger):
        return
    suspended: set[str] = set()
    for number, entry in enumerate(facts.ledger):
        if entry.kind == "suspension":
            suspended |= facts.learned.get(str(entry.data.get("buffer")), set())
        if number < facts.ledger_from or entry.kind != "rollout" or "signal" in entry.data or not suspended:
            continue
        if entry.reason in SECONDS:
            continue
        row = facts.versions.get(str(entry.data.get("candidate")))
        if row is not None and row.buffer is not None and facts.learned.get(row.buffer, set()) & suspended:
            yield f"{entry.subject} of {row.version} began after its examples were suspended"
