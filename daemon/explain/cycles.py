"""Why a learning cycle is where it is: labels against what is waited for, training, the gate, the forecast."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from daemon.config import Config
from daemon.cycle import OPEN, Phase, cooled_at
from daemon.cycle_standing import demonstrates, standing_now
from daemon.drift_policy import demonstrated
from daemon.explain import alarms as alarm_words
from daemon.explain import asked, gates
from daemon.explain.explanation import Decided, Explanation, Measure, Remedy, compare, span
from daemon.promotion_budget import next_config
from daemon.store import Read, cycles, jobs, versions
from daemon.store import ledger as entries

REASONS: Final[Mapping[str, str]] = {
    "input_drift": "A confirmed alarm about prompts started it.",
    "reward_drift": "A confirmed alarm about rewards started it.",
    "concept_drift": "A confirmed alarm started it: known questions want other answers than before.",
    "second_probation": (
        "A confirmed alarm soon after a promotion started it: known questions are answered worse, and the version is "
        "suspected before the world is. Nothing is trained."
    ),
    "asked_by_person": "A person asked for it.",
    "enough_labels": "Enough labelled examples came and enough of them survived selection.",
    "deadline_with_fewer_labels": "The deadline for labels passed; what there was survived selection in number.",
    "too_few_labels": "The deadline for labels passed and too few examples survived selection: nothing was trained.",
    "demonstrations_chosen": "Pairs were chosen to be shown in the prompt; they are a version as a trained one is.",
    "no_demonstrations": "No example could be shown to other users, so its alarm went on to training.",
    "trained": "The trainer delivered a version that passed the file checks.",
    "training_failed": "The trainer failed as often as it may.",
    "gate_passed": "The version passed the gate, and a verdict on live traffic is expected before the deadline.",
    "underpowered": "A verdict on live traffic is not expected before the deadline, so no canary was started.",
    "denied_version": "Training on the same examples gave a version that is on the deny list.",
    "suspended_examples": "Its version learned from examples that a rollback has suspended since.",
    "aborted_by_person": "A person ended it.",
    "champion_left": "The version that it learned from was rolled back meanwhile.",
    "rollout_promoted": "Its version was promoted.",
    "rollout_rolled_back": "Its version was rolled back.",
    "rollout_inconclusive": "Its rollout ended without a verdict.",
    "rollout_denied": "Its version was denied before it met users.",
    "rollout_kept": "The version was compared with the one before it once more, and stays.",
    "rollout_aborted": "Its rollout was ended by a person.",
}
_NEXT: Final[Mapping[Phase, str]] = {
    Phase.COLLECTING: "When enough labels are there, a buffer is selected and a version trained.",
    Phase.TRAINING: "When the trainer is done, the gate compares the version with the champion offline.",
    Phase.GATING: "When every check holds and a verdict is in reach, its rollout starts.",
    Phase.ROLLING: "The cycle ends with its rollout.",
    Phase.DONE: "The next cycle may start after the cooldown.",
    Phase.STOPPED: "The next cycle may start after the cooldown.",
}
_ABORT: Final = Remedy("homeostat abort", "end the cycle")
_AGAIN: Final = Remedy("homeostat adapt", "start another cycle now")


def explain(
    read: Read, row: cycles.Cycle, config: Config, now: float, labels: Callable[[cycles.Cycle], int]
) -> Explanation:
    """The explanation of one cycle; ``labels`` counts those of a collecting one."""
    phase = Phase(row.phase)
    last = next(reversed([e for e in entries.about(read, row.id) if e.kind == "cycle"]), None)
    version = row.data.get("version")
    candidate = versions.get(read, str(version)) if version else None
    return Explanation(
        subject=row.id,
        kind="cycle",
        title=f"cycle {row.id} for {row.cause}: {phase.value}",
        decided=Decided(phase.value, row.reason, _words(row), row.changed_at, last.actor if last else "daemon"),
        measures=(
            *_labels(row, phase, config, now, labels),
            *gates.measures(candidate.gate if candidate else None),
            *_forecast(row, config),
        ),
        next=(_next(row, phase), *_waiting(read, row, phase, config, now), *_budget(read, row, config, now)),
        can_do=(*_can_do(row, phase), *asked.remedies(read, row.id)),
        notes=(*_notes(read, row), *asked.notes(read, row.id)),
    )


def _next(row: cycles.Cycle, phase: Phase) -> str:
    if not demonstrates(row):
        return _NEXT[phase]
    if phase is Phase.COLLECTING:
        return "When enough labels are there, question-answer pairs are chosen to be shown in the prompt."
    if phase not in OPEN and demonstrated(row.reason) is not None:
        return "Its alarm goes on to the next action: a version is trained."
    return _NEXT[phase]


def _words(row: cycles.Cycle) -> str:
    if row.reason.startswith("gate_") and row.reason != "gate_passed":
        return "The gate stopped it. " + gates.WORDS.get(row.reason.removeprefix("gate_"), "")
    return REASONS.get(row.reason, f"{row.reason.replace('_', ' ').capitalize()}.")


def _labels(
    row: cycles.Cycle, phase: Phase, config: Config, now: float, labels: Callable[[cycles.Cycle], int]
) -> tuple[Measure, ...]:
    found: list[Measure] = []
    shows = config.cycle.demonstrations.min_examples if demonstrates(row) else None
    if phase is Phase.COLLECTING:
        least = 1 if row.cause == "manual" else shows or config.cycle.min_labels
        said = "corrections and confirmed answers in the slice"
        found.append(compare("labels", float(labels(row)), ">=", float(least), said))
        waited = f"seconds waited; at the deadline of {span(config.cycle.label_deadline_s)} fewer labels may do"
        found.append(compare("waited_s", now - row.started_at, ">=", config.cycle.label_deadline_s, waited))
    selected = row.data.get("chosen_from", row.data.get("new", row.data.get("selected")))
    if selected is not None:
        said = "examples that survived selection"
        found.append(compare("selected", float(selected), ">=", float(shows or config.cycle.min_selected), said))
    return tuple(found)


def _forecast(row: cycles.Cycle, config: Config) -> tuple[Measure, ...]:
    """Against the deadline and the alpha of promotion that decided; cycles of before have neither in their data."""
    if "seconds" not in row.data and row.reason != "underpowered":
        return ()
    seconds, deadline = row.data.get("seconds"), float(row.data.get("deadline_s", config.rollout.deadline_s))
    needs = row.data.get("needs_promote")
    step = "" if needs is None else f" (e {float(needs):.3g} a step)"
    units, most = row.data.get("units"), row.data.get("most_units")
    if seconds is None and units is not None and most is not None:
        said = f"rated sessions that it takes{step}, against those that count: rollout.identity_cap a person"
        return (compare("units", float(units), "<=", float(most), said),)
    if seconds is None:
        said = f"a verdict is not in reach at any number of units: the expected effect cannot pass{step}"
        return (Measure("forecast_s", None, "<=", deadline, False, said),)
    said = f"seconds to promotion{step} that this traffic lets expect, against the rollout's deadline"
    return (compare("forecast_s", float(seconds), "<=", deadline, said),)


def _budget(read: Read, row: cycles.Cycle, config: Config, now: float) -> tuple[str, ...]:
    """What a rollout that began now would have to show, where a forecast of one ended the cycle."""
    if row.reason != "underpowered":
        return ()
    frozen = next_config(read, row.deployment, config.rollout, now)
    line = f"A rollout that began now would need e {frozen.promote_threshold:.3g} for a step"
    if frozen.promotion_alpha < config.rollout.promotion_alpha:
        return (f"{line}: this year's rollouts have left {frozen.promotion_alpha:.3g} for a wrong promotion.",)
    return (f"{line}.",)


def _waiting(read: Read, row: cycles.Cycle, phase: Phase, config: Config, now: float) -> tuple[str, ...]:
    if phase is Phase.COLLECTING:
        left = row.started_at + config.cycle.label_deadline_s - now
        return (f"It waits for labels for {span(max(left, 0.0))} at most.",)
    if phase not in OPEN:
        standing = standing_now(read, config)
        if standing.rollbacks_same_cause >= config.cycle.freeze_after:
            frozen = f"After {standing.rollbacks_same_cause} rollbacks in a row no cycle starts by itself"
            return (f"{frozen} until `homeostat resume --reason …`.",)
        left = cooled_at(standing, config.cycle) - now
        return (f"The cooldown ends in {span(left)}.",) if left > 0 else ("The cooldown is over.",)
    return ()


def _can_do(row: cycles.Cycle, phase: Phase) -> tuple[Remedy, ...]:
    rollout = row.data.get("rollout")
    look = (Remedy(f"homeostat why {rollout}", "how its rollout was decided"),) if rollout else ()
    if phase is Phase.ROLLING:
        return look
    if phase in OPEN:
        return (_ABORT,)
    power = (Remedy("homeostat power", "what a verdict needs at this traffic"),) if row.reason == "underpowered" else ()
    return (*look, *power, _AGAIN)


def _notes(read: Read, row: cycles.Cycle) -> tuple[str, ...]:
    notes = [alarm_words.WORDS[name]] if (name := str(row.data.get("demonstrated", ""))) in alarm_words.WORDS else []
    if row.data.get("stands_on") is not None:
        pairs, characters = row.data.get("new", 0), row.data.get("characters", 0)
        notes.append(
            f"It shows {pairs} pairs of {characters} characters in all before what {row.data['stands_on']} answers."
        )
    job = jobs.get(read, str(row.data["job"])) if row.data.get("job") else None
    if job is not None:
        step, steps = job.report.get("step"), job.report.get("steps")
        at = f", step {step} of {steps}" if step is not None and steps is not None else ""
        why = f": {job.reason}" if job.reason else ""
        notes.append(f"Training job {job.id} is {job.state}, attempt {job.attempt} of {job.max_attempts}{at}{why}.")
    made: dict[str, Any] = {
        k: row.data[k]
        for k in ("new", "corrections", "replay", "anchors", "holdout_old", "holdout_new")
        if k in row.data
    }
    if made:
        sizes = ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in made.items())
        notes.append(f"Buffer {str(row.data.get('buffer', ''))[:12]}: {sizes}.")
    return tuple(notes)
