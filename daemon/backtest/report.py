"""What a replay found, beside what was decided on the day, as one JSON-able document."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from daemon.backtest.replay import Replay
from daemon.explain.explanation import plain
from daemon.labels import Labels
from daemon.store import Read, alarms, buffers, cycles
from daemon.store import ledger as entries
from monitors.alarms import SliceModel

_ALL: Final = 10_000
OUT: Final = "out"
"""Role of an exchange that a selection left out (``adapters.decisions.Role``)."""
Json = dict[str, Any]


def report(replay: Replay) -> Json:
    """The document of a replay that has run."""
    with replay.recorded.read() as recorded, replay.scratch.read() as scratch:
        return plain(
            {
                "window": {
                    "from": replay.window.from_s,
                    "until": replay.window.until_s,
                    "replayed_from": replay.begins,
                },
                "events": {
                    "exchanges": replay.source.counted.exchanges,
                    "feedback": replay.source.counted.feedback,
                    "exchanges_without_text": replay.source.counted.exchanges_without_text,
                    "feedback_without_text": replay.source.counted.feedback_without_text,
                },
                "alarms": _alarms(replay, scratch),
                "recorded_alarms": _alarms(replay, recorded),
                "cycles": [_cycle(replay, scratch, row) for row in _cycles(replay, scratch)],
                "recorded_cycles": [
                    {"id": c.id, "cause": c.cause, "reason": c.reason, "started_at": c.started_at, "phase": c.phase}
                    for c in _cycles(replay, recorded)
                ],
                "rollouts": _rollouts(replay, recorded),
                "notes": _notes(replay),
            }
        )


def _alarms(replay: Replay, read: Read) -> list[Json]:
    """Alarms inside the window, oldest first."""
    return [
        {
            "id": row.alarm_id,
            "at": row.at,
            "kind": row.kind,
            "detector": row.detector,
            "primary": row.primary,
            "confirmed": row.confirmed,
            "answer": row.answer,
            "terms": list(row.alarm.slice.terms[:8]) if row.alarm.slice else [],
        }
        for row in alarms.newest(read, replay.name, _ALL)
        if replay.window.from_s <= row.at < replay.window.until_s
    ]


def _cycles(replay: Replay, read: Read) -> list[cycles.Cycle]:
    window = replay.window
    found = [c for c in cycles.newest(read, replay.name, _ALL) if window.from_s <= c.started_at <= window.until_s]
    return sorted(found, key=lambda c: c.started_at)


def _cycle(replay: Replay, scratch: Read, row: cycles.Cycle) -> Json:
    """A would-be cycle; its last move before the backtest ended it is its outcome."""
    moves = [e for e in entries.about(scratch, row.id) if e.kind == "cycle" and e.actor != "backtest"]
    digest = row.data.get("buffer")
    found: Json = {
        "id": row.id,
        "alarm": row.cause,
        "started_at": row.started_at,
        "started_by": moves[0].reason if moves else row.reason,
        "outcome": moves[-1].reason if len(moves) > 1 else "waiting_for_labels",
        "buffer": _buffer(scratch, str(digest)) if digest else None,
    }
    if len(moves) < 2:
        inside = row.data.get("slice")
        since = float(row.data.get("alarm_at", row.started_at)) - replay.config.cycle.history_s
        model = SliceModel.stored(inside)
        found["labels"] = Labels(replay.scratch, replay.name).count(model, since, replay.source.now)
    return found


def _buffer(scratch: Read, digest: str) -> Json | None:
    row = buffers.get(scratch, digest)
    if row is None:
        return None
    items = buffers.items(scratch, digest)
    left_out = Counter(f"{item.stage}:{item.reason}" for item in items if item.role == OUT)
    return {
        "digest": digest,
        "built_at": row.created_at,
        "roles": dict(Counter(item.role for item in items if item.role != OUT)),
        "left_out": dict(left_out.most_common()),
    }


def _rollouts(replay: Replay, recorded: Read) -> list[Json]:
    found: list[Json] = []
    for one in replay.verdicts:
        row, would_be = one.row, one.to_dict()
        moves = [e for e in entries.about(recorded, row.id) if e.kind == "rollout" and "units" in e.data]
        found.append(
            {
                "id": row.id,
                "candidate": row.candidate,
                "started_at": row.started_at,
                "recorded": {
                    "phase": row.phase,
                    "reason": row.reason,
                    "at": row.ended_at,
                    "units": int(moves[-1].data["units"]) if moves else 0,
                },
                "would_be": would_be,
                "same": would_be["phase"] == row.phase,
            }
        )
    return found


def _notes(replay: Replay) -> list[str]:
    counted, notes = replay.source.counted, list[str]()
    if counted.exchanges_without_text:
        notes.append(
            f"Retention had emptied {counted.exchanges_without_text} of {counted.exchanges} exchanges: no detector of "
            "prompts and no buffer sees them."
        )
    if counted.feedback_without_text:
        notes.append(f"{counted.feedback_without_text} corrections and preferences had lost their text: left out.")
    if replay.begins == replay.window.from_s:
        notes.append("Nothing was recorded before the window: the detectors learn their reference inside it.")
    if replay.verdicts:
        notes.append("Shares are those of the day: a policy that goes up sooner has less evidence here than it would.")
    if replay.promotes:
        notes.append(
            "Second probations are those of the day: one that this policy would have begun has no users whose version "
            "was drawn, so an alarm after a promotion goes on to its next action here."
        )
    if any(one.config.promotion_alpha < replay.config.rollout.promotion_alpha for one in replay.verdicts):
        notes.append("Where the year had left less than the policy's alpha for a wrong promotion, the less is used.")
    return notes
