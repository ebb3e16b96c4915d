"""A1 and A3: what may be given traffic, and where."""

from __future__ import annotations

from collections.abc import Iterator

from daemon.invariants.facts import Facts, weighted


def recorded_before_weight(facts: Facts) -> Iterator[str]:
    """A1."""
    for written in facts.written[facts.written_from :]:
        for version in weighted(written.file, facts.alias):
            yield from _unrecorded(facts, version)
            for replica in written.seen:
                if replica.alive and (version, replica.name, replica.incarnation) not in facts.proved:
                    yield f"{version} has weight at epoch {written.file.epoch}, unproved on {replica.name}"
    for one in facts.served:
        if one.version in facts.versions and not one.proved:
            yield f"{one.version} answered on {one.replica} ({one.incarnation}) without a proof"
    for replica in facts.replicas:
        served = replica.control if facts.ticked and replica.settled and replica.ready else None
        if served is not None and (served, replica.name, replica.incarnation) not in facts.proved:
            yield f"{served} serves on {replica.name} ({replica.incarnation}) and no proof of it is recorded"


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
