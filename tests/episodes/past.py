"""What an episode finds when it begins: the identity, perhaps champions, a route, a rollout."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from typing import Any

from daemon import cycle as cycle_table
from daemon import ledger
from daemon.store import alarms, buffers, cycles, rollouts, versions
from deploy.rollout import TABLE
from deploy.rollout import Phase as RolloutPhase
from deploy.rollout import Signal as RolloutSignal
from deploy.routes import Route, RouteFile
from monitors.alarms import AlarmKind
from tests.episodes.host import ALIAS
from tests.episodes.played import (
    BASE_DIGEST,
    DEPLOYMENT,
    IDENTITY,
    Quality,
    manifest_of,
    quality_of,
)
from tests.episodes.settings import config_of, rollout_settings
from tests.episodes.world import World


def furnish(world: World) -> None:
    """What was there before: the identity, perhaps champions, perhaps a route."""
    rng = world.rng
    world.mode = rng.choices(("auto", "canary", "propose", "observe"), (80, 8, 8, 4))[0]
    world.remote_agent = rng.random() < 0.3
    stack = [f"support-{n:012d}" for n in range(1, rng.choice((0, 0, 1, 2, 3)) + 1)]
    names = [IDENTITY, *stack]
    with world.store.begin() as tx:
        for at, name in enumerate(names):
            kind, gate = ("identity", None) if name == IDENTITY else ("lora", {"verdict": "pass"})
            manifest = manifest_of(name, None)
            versions.register(
                tx,
                versions.Version(
                    name, DEPLOYMENT, "default", kind, manifest.digest, BASE_DIGEST, None, "registered", gate,
                    "manifest", None, float(at),
                ),
            )  # fmt: skip
            world.registry.admitted[name] = manifest
            if name != IDENTITY:
                versions.promote(tx, name, float(at))
                world.qualities[name] = Quality(0.5)
    suspected = world.seed % 5 == 2 and bool(stack)  # not drawn: the other seeds stay what they were
    if world.mode != "observe" and suspected:
        _furnish_promotion(world, stack)
    elif world.mode != "observe" and rng.random() < 0.7:
        _furnish_rollout(world, stack)
    if stack and world.mode != "observe":
        route = Route(deployment=DEPLOYMENT, alias=ALIAS, control=stack[-1])
        world.host.write(
            RouteFile(epoch=rng.choice((1, 7)), actor="daemon", reason="promoted", written_at=0.0, routes=(route,))
        )


def _furnish_rollout(world: World, stack: list[str]) -> None:
    """A version that has just passed its gate, its rollout about to begin."""
    buffer, version, rollout = sha256(b"before").hexdigest(), "support-0000000000ff", "rollout-before"
    world.qualities[version] = quality = replace(quality_of(world.rng), gate="pass", finite=True)
    if not quality.effect:
        world.host.without_effect.add(version)
    manifest = world.registry.admitted[version] = manifest_of(version, buffer)
    control = stack[-1] if stack else IDENTITY
    config, now = config_of(world.mode), world.now
    data = {
        "config": rollout_settings(world.mode),
        "latency_tau_s": 5.0,
        "slice": None,
        "cycle": "cycle-before",
        "units_at_phase": 0,
    }
    entry = {"to_phase": "starting", "candidate": version, "control": control, "cycle": "cycle-before"}
    with world.store.begin() as tx:
        row = buffers.Buffer(buffer, DEPLOYMENT, "default", "manual", {}, now)
        buffers.add(tx, row, [buffers.Item(f"x{n}", "new", "played", "selected") for n in range(1, 9)])
        versions.register(
            tx,
            versions.Version(
                version, DEPLOYMENT, "default", "lora", manifest.digest, BASE_DIGEST, None, "gated",
                {"verdict": "pass"}, "manifest", buffer, now,
            ),
        )  # fmt: skip
        cycles.create(
            tx,
            cycle="cycle-before",
            deployment=DEPLOYMENT,
            cause="manual",
            phase="rolling",
            reason="gate_passed",
            data={"version": version, "rollout": rollout, "buffer": buffer, "overrides": {}},
            at=now,
        )
        rollouts.create(
            tx,
            rollouts.Rollout(
                rollout, DEPLOYMENT, version, control, "manual", "starting", True, "gate_passed", data, now, now,
                now + config.rollout.deadline_s,
            ),
        )  # fmt: skip
        ledger.append(tx, DEPLOYMENT, "cycle", "cycle-before", "asked_by_person", actor="tester", at=now)
        for signal in ("enough_labels", "trained", "gate_passed"):
            moved = _cycle_move(signal)
            ledger.append(tx, DEPLOYMENT, "cycle", "cycle-before", signal, actor="daemon", at=now, data=moved)
        ledger.append(tx, DEPLOYMENT, "rollout", rollout, "gate_passed", actor="daemon", at=now, data=entry)


def _furnish_promotion(world: World, stack: list[str]) -> None:
    """The champion was promoted just before, and users are less content since: with it, or with the world."""
    champion, control = stack[-1], stack[-2] if len(stack) > 1 else IDENTITY
    world.qualities[champion] = world.rng.choice((Quality(0.05), Quality(0.5), Quality(0.95), Quality(0.5, fails=0.9)))
    now, cycle, rollout = world.now, "cycle-promoted", "rollout-promoted"
    data = {"config": rollout_settings(world.mode), "slice": None, "cycle": cycle, "units_at_phase": 0}
    with world.store.begin() as tx:
        cycles.create(
            tx,
            cycle=cycle,
            deployment=DEPLOYMENT,
            cause="alarm-before",
            phase="rolling",
            reason="gate_passed",
            data={"version": champion, "rollout": rollout, "overrides": {}},
            at=now - 20.0,
        )
        row = rollouts.Rollout(
            rollout, DEPLOYMENT, champion, control, "alarm-before", "probation", True, "gate_passed", data,
            now - 20.0, now - 10.0, now + 100.0,
        )  # fmt: skip
        rollouts.create(tx, row)
        rollouts.update_phase(tx, rollout, phase="promoted", reason="promoted_by_person", at=now - 10.0, ended=True)
        cycles.update_phase(
            tx, cycle, phase="done", reason="rollout_promoted", data={"rollout": rollout}, at=now - 10.0, active=False
        )
        ledger.append(tx, DEPLOYMENT, "cycle", cycle, "input_drift", actor="daemon", at=now - 20.0)
        for signal in ("enough_labels", "trained", "gate_passed", "rollout_ended"):
            moved = _cycle_move(signal)
            ledger.append(tx, DEPLOYMENT, "cycle", cycle, signal, actor="daemon", at=now - 10.0, data=moved)
        entry: dict[str, Any] = {"to_phase": "starting", "candidate": champion, "control": control, "cycle": cycle}
        ledger.append(tx, DEPLOYMENT, "rollout", rollout, "gate_passed", actor="daemon", at=now - 20.0, data=entry)
        phase = RolloutPhase.STARTING
        for signal in ("control_ready", "soaked", "proved", "approved", "approved"):
            after = TABLE[phase, RolloutSignal(signal)]
            moved = {"from_phase": phase.value, "to_phase": after.value, "signal": signal}
            ledger.append(
                tx, DEPLOYMENT, "rollout", rollout, "promoted_by_person", actor="tester", at=now - 10.0, data=moved
            )
            phase = after
        kinds = {AlarmKind.INPUT: ("alarm-before", "new_inputs", -25.0)}
        if world.rng.random() < 0.6:
            kinds[AlarmKind.REWARD] = ("alarm-after", "changed_answers", -5.0)
        for kind, (name, cause, after_s) in kinds.items():
            body = {"evidence": {"cause": cause}, "slice": None}
            known = alarms.AlarmRow(name, DEPLOYMENT, kind.value, "played", True, True, now + after_s, body)
            alarms.insert_new(tx, [known])
        alarms.answer(tx, "alarm-before", cycle)


def _cycle_move(signal: str) -> dict[str, str]:
    before, after = next((p, to) for (p, s), to in cycle_table.TABLE.items() if s == signal)
    return {"from_phase": before.value, "to_phase": after.value, "signal": signal}
