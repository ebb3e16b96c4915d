"""Why an alarm was raised: the detector's statistic against its threshold, the second look, and what became of it."""

from __future__ import annotations

from typing import Any, Final

from daemon import cycle as policy
from daemon.acting import acting, no_rollback
from daemon.config import Config
from daemon.drift_policy import PASSED_OVER
from daemon.explain import asked
from daemon.explain.explanation import Decided, Explanation, Measure, Relation, Remedy, compare, span
from daemon.store import Read, alarms, cycles, rollouts, states, versions
from monitors.alarms import AlarmKind

_TESTS: Final[tuple[tuple[str, str, Relation, str], ...]] = (
    ("t2", "t2_threshold", ">=", "how far the features of prompts moved (MEWMA)"),
    ("log_e", "log_e_threshold", ">=", "log evidence that a classifier tells new prompts from the reference"),
    ("p_value", "alpha", "<=", "the second look on fresh traffic: chance of such a difference without drift"),
    ("e", "threshold", ">=", "evidence that rewards left their usual level (e-SR)"),
)
_ADAPT: Final = Remedy("homeostat adapt", "start a learning cycle now, on the newest slice")
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
        can_do=(*_go_back(read, row, evidence, config), *can_do, *asked.remedies(read, row.alarm_id)),
        notes=(*_notes(evidence), *asked.notes(read, row.alarm_id)),
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
    if row.kind == "reward":
        return (
            f"Rewards show a {evidence.get('direction', 'fall')} from their usual {_number(evidence, 'usual')} over "
            f"{evidence.get('rewards', '–')} rewards."
        )
    verdict = "confirmed it" if row.confirmed else "did not confirm it"
    return (
        f"A detector suspected drift, and a classifier tried on {evidence.get('fresh', '–')} fresh prompts {verdict} "
        f"(AUC {_number(evidence, 'auc')}, .5 is chance)."
    )


def _number(evidence: dict[str, Any], name: str) -> str:
    value = evidence.get(name)
    return f"{float(value):.3g}" if isinstance(value, (int, float)) else "–"


def _notes(evidence: dict[str, Any]) -> tuple[str, ...]:
    notes: list[str] = []
    share, terms = evidence.get("share"), evidence.get("terms")
    if isinstance(share, (int, float)) and share > 0:
        notes.append(f"About {100.0 * float(share):.0f} % of the newest prompts are of the new kind.")
    if isinstance(terms, list) and terms:
        notes.append("Words that speak most for it: " + ", ".join(str(t) for t in terms[:12]) + ".")  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
    return tuple(notes)


def _go_back(read: Read, row: alarms.AlarmRow, evidence: dict[str, Any], config: Config) -> tuple[Remedy, ...]:
    """The command that the policy leaves to a person, where the newest promotion is suspected and still serves."""
    champion = next((v for v in versions.promoted_stack(read, row.deployment)), None)
    if champion is None or champion.promoted_at is None or not row.confirmed or not no_rollback(config):
        return ()
    soon = 0.0 < row.at - champion.promoted_at <= config.cycle.promotion_watch_s
    if row.kind != AlarmKind.REWARD.value or evidence.get("cause") != "changed_answers" or not soon:
        return ()
    return (
        Remedy(
            "homeostat rollback",
            f"leave {champion.version}, promoted {span(row.at - champion.promoted_at)} before known questions were "
            "answered worse",
        ),
    )


def _answer(read: Read, row: alarms.AlarmRow, config: Config, now: float) -> tuple[tuple[str, ...], tuple[Remedy, ...]]:
    if row.answer == policy.WORSE:
        return ("The version that had just been promoted was rolled back for it.",), ()
    if row.answer is not None:
        look = Remedy(f"homeostat why {row.answer}", "how far the cycle is")
        return (f"Answered by {row.answer}.",), (look,) if cycles.get(read, row.answer) is not None else ()
    if not (row.primary and row.confirmed):
        return ("Nothing: only a confirmed alarm of a primary detector may start a cycle.",), (_ADAPT,)
    reason = blocked_by(read, row, config, now)
    said = {
        "mode_observe": "Nothing: in mode observe the daemon trains nothing.",
        "paused": "It waits until `homeostat resume`.",
        "cycle_open": "It waits for the running cycle to end.",
        "rollout_active": "It waits for the running rollout to end.",
        "cooldown": f"It waits for the cooldown of {span(config.cycle.cooldown_s)} after the last cycle.",
        "reward_grace": f"For {span(config.cycle.reward_grace_s)} it waits for an alarm that knows the slice.",
        "alarm_only_informs": "Nothing: alarms of this kind only inform.",
        policy.ASKED: "It waits for the labels that it asked for, until they came or their deadline passed.",
        policy.WORSE: "The version that was just promoted is rolled back at the next tick.",
        **dict.fromkeys(PASSED_OVER, "Nothing: alarms of this kind only inform."),
    }.get(reason, "A cycle starts at the next tick.")
    resume = (Remedy("homeostat resume", "let cycles start again"),) if reason == "paused" else ()
    return (said,), (*resume, _ADAPT)


def blocked_by(read: Read, row: alarms.AlarmRow, config: Config, now: float) -> str:
    """The named reason that ``daemon.cycle.choose`` gives for this alarm now.

    Rollbacks in a row are not counted here: they double the cooldown, and a freeze pages by itself.
    """
    past = cycles.newest(read, row.deployment, 1)
    champion = next((v.version for v in versions.promoted_stack(read, row.deployment)), None)
    cause = str(row.body.get("evidence", {}).get("cause", "unknown"))
    standing = policy.Standing(
        alarms=(policy.OpenAlarm(row.alarm_id, AlarmKind(row.kind), row.at, cause),),
        cycle_open=cycles.active(read, row.deployment) is not None,
        rollout_active=rollouts.active(read, row.deployment) is not None,
        paused=states.get(read, "paused") == b"1",
        may_train=config.mode != "observe",
        last_end=past[0].changed_at if past else None,
        rollbacks_same_cause=0,
    )
    facts = acting(read, row.deployment, config, champion)
    if facts.asked.get(row.alarm_id) == "":
        return policy.ASKED
    return policy.choose(facts.into(standing), config.cycle, now).reason
