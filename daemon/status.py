"""The status document: where everything is, JSON-able, for the command line, the live view and people's scripts."""

from __future__ import annotations

from typing import Any

from daemon import freeze_record, label_requests
from daemon.api.looks import alarm_view
from daemon.config import Config
from daemon.explain import reference_words
from daemon.ingest import Ingest
from daemon.routing import Routing
from daemon.standing import Standing
from daemon.store import Read, Store, alarms, counters, cycles, jobs, rollouts, states, suspended, versions
from deploy.agent import Observation
from deploy.evidence import Evidence
from deploy.rollout import Phase, RolloutConfig, desired
from deploy.verdict import needs, numbers

Json = dict[str, Any]


def status(
    store: Store, config: Config, standing: Standing, seen: Observation, routing: Routing, ingest: Ingest
) -> Json:
    """One consistent snapshot of the store, with what is held in memory beside it."""
    name, evidence = config.deployment.name, ingest.evidence
    with store.read() as read:
        row = rollouts.active(read, name)
        cycle = cycles.active(read, name)
        counted = counters.get_all(read)
        return {
            "deployment": name,
            "mode": config.mode,
            "paused": states.get(read, "paused") == b"1",
            "freeze": _freeze(freeze_record.load(read)),
            "champion": standing.champion,
            "kinds": _kinds(read, standing, row),
            "previous": standing.previous,
            "identity": standing.identity,
            "targets": list(standing.targets),
            "route": _route(routing),
            "rollout": None if row is None else _rollout(row, evidence),
            "cycle": None if cycle is None else _cycle(read, cycle),
            "replicas": [_replica(r, standing) for r in seen.replicas],
            "monitors": reference_words.document(ingest.watch.coverage),
            "counts": counted,
            "labels": [_request(r) for r in label_requests.load(read) if r.open],
            "suspended": suspended.counts(read),
            "lag": {f"{topic}/{partition}": n for (topic, partition), n in ingest.lag().items()},
            "alarms": [alarm_view(a) for a in alarms.newest(read, name, 20)],
        }


def _kinds(read: Read, standing: Standing, row: rollouts.Rollout | None) -> dict[str, str]:
    """Version to kind, of what serves, could serve again or is tried."""
    candidate = None if row is None else row.candidate
    found = (versions.get(read, v) for v in {standing.champion, standing.identity, candidate, *standing.targets} if v)
    return {version.version: version.kind for version in found if version is not None}


def _freeze(holds: freeze_record.Freeze | None) -> Json | None:
    return None if holds is None else holds.model_dump(mode="json") | {"resume": "homeostat resume --reason …"}


def _request(request: label_requests.LabelRequest) -> Json:
    shown = ("id", "alarm", "cycle", "verdict", "needed", "got", "deadline")
    return {name: getattr(request, name) for name in shown} | {"left": request.left}


def _route(routing: Routing) -> Json:
    route, file = routing.route, routing.file
    if route is None or file is None:
        empty = ("control", "stands_in_for", "candidate", "share", "holdback", "actor", "reason")
        return {"epoch": 0, **dict.fromkeys(empty)}
    return {
        "epoch": file.epoch,
        "control": route.control,
        "stands_in_for": route.stands_in_for,
        "candidate": None if route.split is None else route.split.candidate,
        "share": None if route.split is None else route.split.share,
        "holdback": None if route.holdback is None else route.holdback.model_dump(),
        "actor": file.actor,
        "reason": file.reason,
    }


def _rollout(row: rollouts.Rollout, evidence: Evidence | None) -> Json:
    config = RolloutConfig.model_validate(row.data["config"])
    share = desired(Phase(row.phase), str(row.control), row.candidate, config).share
    return {
        "id": row.id,
        "candidate": row.candidate,
        "control": row.control,
        "phase": row.phase,
        "share": share,
        "reason": row.reason,
        "waiting": row.data.get("waiting", ""),
        "started_at": row.started_at,
        "deadline": row.deadline,
        "evidence": {} if evidence is None else _evidence(evidence, config),
    }


def _evidence(evidence: Evidence, config: RolloutConfig) -> Json:
    seen = numbers(evidence.processes)
    units = {"e_harm": "units_rewarded", "e_feedback_rate": "units_rewarded", "e_sample_ratio": "units"}
    shown: Json = {}
    for key, value in seen.items():
        if key.startswith("e_harm_") and value == 1.0:
            continue  # a guardrail that has had no event
        if key.startswith("e_"):
            counted = seen[units[key]] if key in units else seen["units_matured_control"] + seen["units_matured_canary"]
            shown[key[2:]] = {
                "e": value,
                "needs": needs(key[2:], config),
                "units": int(counted),
            }
        elif value == value:
            shown[key] = value
    return shown


def _cycle(read: Read, row: cycles.Cycle) -> Json:
    hidden = {"slice"}  # weights by the thousand; the alarm shows its words
    data = {k: v for k, v in row.data.items() if k not in hidden}
    job = jobs.get(read, str(row.data["job"])) if row.data.get("job") else None
    if job is not None:
        report = job.report
        data["training"] = {
            "state": job.state,
            "attempt": job.attempt,
            "step": report.get("step"),
            "steps": report.get("steps"),
            "reason": job.reason,
        }
    return {
        "id": row.id,
        "phase": row.phase,
        "cause": row.cause,
        "reason": row.reason,
        "started_at": row.started_at,
        "counts": data,
    }


def _replica(replica: Any, standing: Standing) -> Json:
    needed = standing.champion or standing.identity
    ready = bool(replica.alive) and (needed is None or bool(replica.proved.get(needed)))
    return {
        "name": replica.name,
        "alive": replica.alive,
        "ready": ready,
        "models": sorted(replica.models),
        "proved": {version: bool(ok) for version, ok in replica.proved.items()},
    }
