"""Why an alarm was raised: the detector's statistic against its threshold, the second look, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from daemon import cycle as policy
from daemon.config import Config
from daemon.cycle_standing import cause_of, standing_now
from daemon.explain import asked, reference_words
from daemon.explain.explanation import Decided, Explanation, Measure, Relation, Remedy, compare, span
from daemon.store import Read, alarms, cycles
from daemon.store import ledger as entries
from daemon.unanswered import REASON

_TESTS: Final[tuple[tuple[str, str, Relation, str], ...]] = (
    ("t2", "t2_threshold", ">=", "how far the features of prompts moved (MEWMA)"),
    ("log_e", "log_e_threshold", ">=", "log evidence that a classifier tells new prompts from the reference"),
    ("p_value", "alpha", "<=", "the second look on fresh traffic: chance of such a difference without drift"),
    ("e", "threshold", ">=", "evidence that it left its usual level (e-SR)"),
)
_ADAPT: Final = Remedy("homeostat adapt", "start a learning cycle now, on the newest slice")
_RESUME: Final = Remedy("homeostat resume", "let cycles start again")
_RESUME_FROZEN: Final = Remedy("homeostat resume --reason …", "lift the freeze; the reason goes into the ledger")
_RESUMED: Final = {"paused": _RESUME, "frozen_after_rollbacks": _RESUME_FROZEN}
WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "no_open_alarm": "Nothing: no alarm waits for an answer.",
        "same_cause": (
            "No cycle: the version that was promoted last was trained for what it saw. It is answered so at the next "
            "tick."
        ),
        "mode_observe": "Nothing: in mode observe the daemon trains nothing.",
        "paused": "It waits until `homeostat resume`.",
        "cycle_open": "It waits for the running cycle to end.",
        "rollout_active": "It waits for the running rollout to end.",
        "cooldown": "It waits for the cooldown of {cooldown} after the last cycle{doubled}: {left} more.",
        "reward_grace": "For {grace} it waits for an alarm about prompts, which knows the slice.",
        "frozen_after_rollbacks": (
            "Nothing: after {rollbacks} rollbacks in a row the deployment is frozen until "
            "`homeostat resume --reason …`."
        ),
        "alarm_only_informs": "Nothing: alarms of this kind and cause only inform.",
        "input_drift": "A cycle starts at the next tick: new prompts, which the champion has not learned.",
        "concept_drift": "A cycle starts at the next tick: known questions want other answers than before.",
        "reward_drift": "A cycle starts at the next tick: users are less content than they were.",
        policy.ASKED: "It waits for the labels that were asked for, until they came or their deadline passed.",
        "labels_enough": "Labels were to be asked for; there are enough already.",
        "labels_satisfied": "The labels that were asked for came.",
        "labels_timed_out": "Labels were asked for, and too few came in time.",
        "labels_superseded": "Labels were asked for; a newer request took the place of that one.",
        "demonstrations_off": "Examples in the prompt would come first; cycle.demonstrations does not allow them.",
        "demonstrations_too_few": "Examples in the prompt were tried first; too few pairs could be shown.",
        "demonstrations_gate_stopped": "Examples in the prompt were tried first; the gate did not pass them.",
        "demonstrations_underpowered": (
            "Examples in the prompt were tried first; no verdict on them was in reach before the deadline."
        ),
        "demonstrations_not_promoted": "Examples in the prompt were tried first; their rollout did not promote them.",
        "demonstrations_stopped": "Examples in the prompt were tried first, and were ended from outside.",
        policy.SECOND: (
            "At the next tick the version that was promoted shortly before is compared with the one before it once "
            "more, on half of the sessions each: it is suspected before the world is."
        ),
        "second_probation_over": "The version was compared with the one before it since, and stayed.",
        "nothing_to_compare": "What was promoted shortly before does not serve any more: it is not what is worse.",
    }
)
"""What follows for an alarm, by every reason of ``daemon.cycle.choose``."""
ANSWERS: Final[Mapping[str, str]] = MappingProxyType(
    {"same_cause": "Answered without a cycle: a version that was trained for what it saw has been promoted since."}
)
"""Answers that are no cycle."""
_CAUSES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "new_inputs": "Prompts unlike the reference carry most of it: the questions are new.",
        "changed_answers": "Prompts like the reference carry most of it: what is right for known questions changed.",
        "unknown": "Whether new questions or changed answers carry it could not be told.",
    }
)
_REWARD_SIGNALS: Final[Mapping[str, str]] = MappingProxyType(
    {"reward": "Rewards show", "feedback": "The share of corrections shows"}
)
_KINDS: Final = {
    "input": "prompts",
    "reward": "rewards",
    "behaviour": "replies",
    "latency": "latencies",
    "feedback": "feedback",
}


def explain(read: Read, row: alarms.AlarmRow, config: Config, now: float) -> Explanation:
    """The explanation of one alarm."""
    evidence: dict[str, Any] = dict(row.body.get("evidence") or {})
    state = "confirmed" if row.confirmed else "dismissed" if row.primary and "p_value" in evidence else "told"
    what = f"{state}: {_KINDS.get(row.kind, row.kind)} drifted" if row.confirmed else f"{state}, acts on nothing"
    next_lines, can_do = _answer(read, row, config, now)
    return Explanation(
        subject=row.alarm_id,
        kind="alarm",
        title=f"{row.kind} alarm {row.alarm_id} of {row.detector}: {what}",
        decided=Decided(what, state, _words(row, evidence), row.at, row.detector),
        measures=_measures(evidence),
        next=next_lines,
        can_do=(*can_do, *asked.remedies(read, row.alarm_id)),
        notes=(
            *_notes(evidence),
            *reference_words.of_alarm(evidence),
            *_opened_again(read, row),
            *asked.notes(read, row.alarm_id),
        ),
    )


def _measures(evidence: dict[str, Any]) -> tuple[Measure, ...]:
    return tuple(
        compare(name, float(evidence[name]), relation, float(evidence[threshold]), said)
        for name, threshold, relation, said in _TESTS
        if name in evidence and threshold in evidence
    )


def _words(row: alarms.AlarmRow, evidence: dict[str, Any]) -> str:
    if not row.primary:
        level = evidence.get("level")
        usual = f" (usual level {float(level):.3g})" if isinstance(level, (int, float)) else ""
        return f"{row.detector} is an informer: it tells people that {evidence.get('signal', row.kind)} moved{usual}."
    if row.kind in _REWARD_SIGNALS:
        known = evidence.get("known_from")
        told = (
            f"{_REWARD_SIGNALS[row.kind]} a {evidence.get('direction', 'change')} from the usual "
            f"{_number(evidence, 'usual')}{f' (known from {known:,} rewards)' if isinstance(known, int) else ''} "
            f"over {evidence.get('rewards', '–')} rewards."
        )
        return f"{told} {_CAUSES.get(cause_of(row), '')}".rstrip()
    verdict = "confirmed it" if row.confirmed else "did not confirm it"
    novelty = evidence.get("test") == "novelty"
    test, few = ("the novelty of", ", which few strange ones hardly move") if novelty else ("a classifier tried on", "")
    return (
        f"A detector suspected drift, and {test} {evidence.get('fresh', '–')} fresh prompts {verdict} "
        f"(AUC {_number(evidence, 'auc')}, .5 is chance{few})."
    )


def _number(evidence: dict[str, Any], name: str) -> str:
    value = evidence.get(name)
    return f"{float(value):.3g}" if isinstance(value, (int, float)) else "–"


def _notes(evidence: dict[str, Any]) -> tuple[str, ...]:
    notes: list[str] = []
    share, terms = evidence.get("share"), evidence.get("terms")
    familiar = evidence.get("familiar_share")
    if isinstance(familiar, (int, float)):
        notes.append(f"{100.0 * float(familiar):.0f} % of what is missing came from prompts like the reference.")
    if isinstance(share, (int, float)) and share > 0:
        notes.append(f"About {100.0 * float(share):.0f} % of the newest prompts are of the new kind.")
    if isinstance(terms, list) and terms:
        notes.append("Words that speak most for it: " + ", ".join(str(t) for t in terms[:12]) + ".")  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    return tuple(notes)


def _opened_again(read: Read, row: alarms.AlarmRow) -> tuple[str, ...]:
    """The version that was trained for it and was left."""
    told = [e for e in entries.about(read, row.alarm_id) if (e.subject, e.reason) == (row.alarm_id, REASON)]
    return tuple(f"{e.data['version']} was trained for it and rolled back: it is unanswered again." for e in told[-1:])


def _answer(read: Read, row: alarms.AlarmRow, config: Config, now: float) -> tuple[tuple[str, ...], tuple[Remedy, ...]]:
    if row.answer is not None:
        cycle = cycles.get(read, row.answer)
        if cycle is None:
            return (ANSWERS.get(row.answer, f"Answered by {row.answer}."),), (_ADAPT,)
        return (f"Answered by {row.answer}.",), (Remedy(f"homeostat why {row.answer}", "how far the cycle is"),)
    if not (row.primary and row.confirmed):
        return ("Nothing: only a confirmed alarm of a primary detector may start a cycle.",), (_ADAPT,)
    standing, chosen = looked_at(read, row, config, now)
    said = [words(chosen.reason, standing, config, now)]
    if chosen.alarm_id is not None:
        said += [] if chosen.alarm_id == row.alarm_id else [f"It is for {chosen.alarm_id}, and answers this one too."]
        said += [WORDS[name] for name in chosen.passed_over]
    resume = (_RESUMED[chosen.reason],) if chosen.reason in _RESUMED else ()
    return tuple(said), (*resume, _ADAPT)


def looked_at(read: Read, row: alarms.AlarmRow, config: Config, now: float) -> tuple[policy.Standing, policy.Start]:
    """What the controller would look at now, and what ``daemon.cycle.choose`` says to this alarm."""
    standing = standing_now(read, config)
    chosen = policy.choose(standing, config.cycle, now)
    if row.alarm_id in chosen.same_cause:
        return standing, policy.Start(None, "same_cause")
    return standing, chosen


def words(reason: str, standing: policy.Standing, config: Config, now: float) -> str:
    """The sentence of a reason of ``daemon.cycle.REASONS``."""
    wait = policy.cooldown_s(standing, config.cycle)
    return WORDS[reason].format(
        cooldown=span(wait),
        left=span(max(policy.cooled_at(standing, config.cycle) - now, 0.0)),
        doubled=", doubled with each rollback in a row" if standing.rollbacks_same_cause else "",
        rollbacks=standing.rollbacks_same_cause,
        grace=span(config.cycle.reward_grace_s),
    )
