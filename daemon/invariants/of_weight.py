"""A1 and A3: what may be given traffic, and where."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.invariants.facts import Facts, Written, weighted
from deploy.routes import RouteFile


def recorded_before_weight(facts: Facts) -> Iterator[str]:
    """A1."""
    for number in range(facts.written_from, len(facts.written)):
        written = facts.written[number]
        before = facts.written[number - 1].file if number else None
        for version in weighted(written.file, facts.alias):
            yield from _unrecorded(facts, version)
            yield from _unproved(facts, before, written, version)
    for one in facts.served:
        if one.version in facts.versions and not one.proved:
            yield f"{one.version} answered on {one.replica} ({one.incarnation}) without a proof"
    for replica in facts.replicas:
        current = facts.file is not None and replica.epoch == facts.file.epoch  # no push to it was lost
        served = replica.control if facts.ticked and current and replica.settled and replica.ready else None
        if served is not None and (served, replica.name, replica.incarnation) not in facts.proved:
            yield f"{served} serves on {replica.name} ({replica.incarnation}) and no proof of it is recorded"


def _unproved(facts: Facts, before: RouteFile | None, written: Written, version: str) -> Iterator[str]:
    """Where a version has weight that its writer knew to be unproved there.

    An anchor that is carried over may be: the gateway answers from the control. So may a stand-in, or the champion at
    its return, on all replicas but one: the others are not ready.
    """
    old, new = None if before is None else before.route(facts.alias), written.file.route(facts.alias)
    alive = [r for r in written.seen if r.alive]
    lacking = [r.name for r in alive if (version, r.name, r.incarnation) not in facts.proved]
    if new is None or not lacking:
        return
    held = None if old is None or old.holdback is None else old.holdback.anchor
    if version == held and version not in (new.control, None if new.split is None else new.split.candidate):
        return
    returns = old is not None and old.stands_in_for == version
    if version == new.control and (new.stands_in_for is not None or returns) and len(lacking) < len(alive):
        return
    yield f"{version} has weight at epoch {written.file.epoch}, unproved on {', '.join(lacking)}"


def _unrecorded(facts: Facts, version: str) -> Iterator[str]:
    row = facts.versions.get(version)
    if row is None or not row.digest:
        yield f"{version} has weight and no recorded digest"
    elif row.base_digest != facts.base_digest:
        yield f"{version} has weight and another base"
    elif version != facts.identity and (row.gate is None or row.gate.get("verdict") != "pass"):
        yield f"{version} has weight and passed no gate"


def ready_with_champion(facts: Facts) -> Iterator[str]:
    """A3."""
    for replica in facts.replicas:
        if replica.ready and replica.control is not None and replica.control not in replica.holds:
            yield f"{replica.name} is ready without {replica.control}"
