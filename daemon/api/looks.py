"""Routes that look: scope ``read``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request

from daemon import ledger
from daemon.api.access import Reader, state
from daemon.api.ports import Json
from daemon.store import Read, Store, alarms, buffers, cycles, denials, intents, proofs, rollouts, units, versions
from daemon.store import ledger as entries

router = APIRouter(prefix="/api/v1", tags=["looks"])
Limit = Annotated[int, Query(ge=1, le=1000)]


def _store(request: Request) -> Store:
    return state(request).store


@router.get("/status")
def status(request: Request, _who: Reader) -> Json:
    """Where everything is."""
    return state(request).controller.status()


@router.get("/versions")
def list_versions(request: Request, _who: Reader, limit: Limit = 100) -> list[Json]:
    """Versions, newest first, with their proofs and denials."""
    with _store(request).read() as read:
        denied = denials.of_deployment(read, state(request).deployment)
        found = versions.of_deployment(read, state(request).deployment, limit)
        return [_version(read, version, denied.get(version.version)) for version in found]


def _version(read: Read, version: versions.Version, denial: denials.Denial | None) -> Json:
    proved = {replica: {"ok": p.ok, "reason": p.reason} for replica, p in proofs.latest(read, version.version).items()}
    denied = None if denial is None else {"reason": denial.reason, "actor": denial.actor, "at": denial.at}
    return asdict(version) | {"denied": denied, "proofs": proved}


@router.get("/rollouts")
def list_rollouts(request: Request, _who: Reader, limit: Limit = 100) -> list[Json]:
    """Rollouts, newest first."""
    with _store(request).read() as read:
        return [asdict(row) for row in rollouts.newest(read, state(request).deployment, limit)]


@router.get("/rollouts/{rollout_id}")
def one_rollout(request: Request, _who: Reader, rollout_id: str) -> Json:
    """One rollout with its effects and how many units each arm has; 404 when there is none."""
    with _store(request).read() as read:
        row = rollouts.get(read, rollout_id)
        if row is None:
            raise HTTPException(404, {"reason": "no_such_rollout", "message": f"no rollout {rollout_id}"})
        counted = [unit for unit in units.of_rollout(read, rollout_id) if not unit.capped]
        arms = {arm: sum(unit.arm == arm for unit in counted) for arm in ("control", "canary")}
        effects: list[Json] = [asdict(intent) for intent in intents.of_rollout(read, rollout_id)]
        return asdict(row) | {"units": arms, "intents": effects}


@router.get("/rollouts/{rollout_id}/units")
def rollout_units(request: Request, _who: Reader, rollout_id: str) -> Json:
    """Units and events from which the verdict can be computed again."""
    with _store(request).read() as read:
        rows: list[Json] = [unit._asdict() for unit in units.of_rollout(read, rollout_id)]
        events: list[Json] = [event._asdict() for event in units.events_of(read, rollout_id)]
        return {"units": rows, "events": events}


@router.get("/alarms")
def list_alarms(request: Request, _who: Reader, limit: Limit = 100) -> list[Json]:
    """Alarms, newest first; without the weights of their slices."""
    with _store(request).read() as read:
        return [alarm_view(row) for row in reversed(alarms.newest(read, state(request).deployment, limit))]


def alarm_view(row: alarms.AlarmRow) -> Json:
    """An alarm for people: the slice's words, not its weights."""
    body: Json = dict(row.body)
    found: Any = body.get("slice")
    if isinstance(found, dict):
        body["slice"] = {key: found[key] for key in ("terms", "threshold") if key in found}
    return body | {"answer": row.answer}


@router.get("/cycles")
def list_cycles(request: Request, _who: Reader, limit: Limit = 100) -> list[Json]:
    """Learning cycles, newest first."""
    with _store(request).read() as read:
        return [asdict(row) for row in cycles.newest(read, state(request).deployment, limit)]


@router.get("/buffers/{digest}")
def one_buffer(request: Request, _who: Reader, digest: str) -> Json:
    """Which examples a buffer holds and why each is in or out; 404 when there is none."""
    with _store(request).read() as read:
        found = buffers.get(read, digest)
        if found is None:
            raise HTTPException(404, {"reason": "no_such_buffer", "message": f"no buffer {digest}"})
        trained: list[str] = [version.version for version in versions.of_buffer(read, digest)]
        items: list[Json] = [asdict(item) for item in buffers.items(read, digest)]
        return asdict(found) | {"versions": trained, "items": items}


@router.get("/events")
def list_events(
    request: Request, _who: Reader, after: Annotated[int, Query(ge=0)] = 0, limit: Limit = 500
) -> list[Json]:
    """The ledger behind entry ``after``, oldest first."""
    with _store(request).read() as read:
        return [asdict(entry) for entry in entries.after(read, after, limit)]


@router.get("/why/{subject}")
def why(request: Request, _who: Reader, subject: str) -> list[Json]:
    """The story of a version, rollout, cycle, alarm, buffer or exchange, oldest first; 404 for an unknown id."""
    with _store(request).read() as read:
        found = story(read, subject)
    if not found:
        raise unknown(subject)
    return found


def story(read: Read, subject: str) -> list[Json]:
    """Entries of the ledger that lead to a subject, oldest first."""
    found = ledger.why(read, subject)
    seen = [buffer for buffer, _item in buffers.with_exchange(read, subject)] if not found else []
    for digest in seen[:20]:
        found += [entry for entry in ledger.why(read, digest) if entry not in found]
    return [asdict(entry) for entry in sorted(found, key=lambda entry: entry.id)]


def unknown(subject: str) -> HTTPException:
    """The answer for an id that nothing has."""
    return HTTPException(404, {"reason": "unknown_subject", "message": f"the ledger knows nothing of {subject}"})
