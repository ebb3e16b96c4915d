"""Why a version may or may not serve: its gate, its denial, its rollouts; with the evidence of the newest rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from daemon.explain import gates, rollouts
from daemon.explain.explanation import Decided, Explanation, Remedy
from daemon.explain.rollout_words import words
from daemon.store import Read, buffers, denials, versions
from daemon.store import rollouts as rollout_rows
from daemon.store.rollouts import Rollout

_REASONS: Final = 6
"""Most frequent reasons of a selection that are named."""


def explain(read: Read, row: versions.Version, now: float) -> Explanation:
    """The explanation of one version at ``now``."""
    tried = of_version(read, row)
    newest = None if not tried else rollouts.explain(read, tried[0], now)
    denied = denials.of_deployment(read, row.deployment).get(row.version)
    decided = _decided(row, denied, newest)
    made = Explanation(
        subject=row.version,
        kind="version",
        title=f"version {row.version} ({row.kind}): {decided.what}",
        decided=decided,
        measures=gates.measures(row.gate),
        next=_next(row, denied),
        can_do=_can_do(row, tried),
        notes=_notes(read, row, tried),
    )
    if newest is None:
        return made
    return replace(
        made,
        measures=(*made.measures, *newest.measures),
        arms=newest.arms,
        effect=newest.effect,
        path=newest.path,
        notes=(*made.notes, *newest.notes),
    )


def of_version(read: Read, row: versions.Version) -> list[Rollout]:
    """Rollouts in which it was the candidate, newest first."""
    return [r for r in rollout_rows.newest(read, row.deployment, 1000) if r.candidate == row.version]


def _decided(row: versions.Version, denied: denials.Denial | None, newest: Explanation | None) -> Decided:
    if denied is not None:
        reason = denied.reason.partition(":")[2] or denied.reason
        said = newest.decided.words if newest is not None and newest.decided.reason == reason else words(reason)
        return Decided("denied for good", denied.reason, said, denied.at, denied.actor)
    if newest is not None:
        return newest.decided
    if row.kind == "identity":
        said = "The zero-effect version of this base: it passes no gate and is never denied."
        return Decided("always there", "identity", said, row.created_at, "daemon")
    if row.gate is not None:
        reason = str(row.gate.get("reason", ""))
        what = {"pass": "passed the gate", "fail": "stopped by the gate"}.get(
            str(row.gate.get("verdict")), "not passed by the gate"
        )
        return Decided(what, reason, gates.WORDS.get(reason, reason), row.created_at, "daemon")
    return Decided(row.status, row.status, "It is registered and waits for the gate.", row.created_at, "daemon")


def _next(row: versions.Version, denied: denials.Denial | None) -> tuple[str, ...]:
    if denied is not None:
        return ("It is never routed again without an explicit approval, whatever the evidence says.",)
    if row.status == "promoted":
        return ("It serves, or can be gone back to, as long as it is not denied.",)
    if row.gate is not None and row.gate.get("verdict") != "pass":
        return ("Nothing: it meets no traffic.",)
    return ()


def _can_do(row: versions.Version, tried: list[Rollout]) -> tuple[Remedy, ...]:
    found = [Remedy(f"homeostat why {r.id}", f"how rollout {r.id} was decided") for r in tried[:3]]
    if row.status == "promoted" and row.kind != "identity":
        found.append(Remedy("homeostat rollback", "leave it, while it serves"))
        found.append(Remedy(f"homeostat rollback --to {row.version}", "go back to it, while a later one serves"))
    return tuple(found)


def _notes(read: Read, row: versions.Version, tried: list[Rollout]) -> tuple[str, ...]:
    notes = [f"Rollouts with it as the candidate: {len(tried)}, the newest {tried[0].id}."] if tried else []
    buffer = buffers.get(read, row.buffer) if row.buffer is not None else None
    if buffer is not None:
        counts = {str(k): v for k, v in buffer.counts.items() if isinstance(v, int)}
        sizes = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in counts.items() if "/" not in k)
        learned = "It learned from" if row.kind != "demonstrations" else f"It stands on {row.parent} and shows"
        notes.append(f"{learned} buffer {buffer.digest[:12]}{': ' if sizes else ''}{sizes}.")
        out = sorted(((v, k.removeprefix("out/")) for k, v in counts.items() if k.startswith("out/")), reverse=True)
        if out:
            notes.append("Left out of it: " + ", ".join(f"{why} {n}" for n, why in out[:_REASONS]) + ".")
    return tuple(notes)
