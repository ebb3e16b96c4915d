"""report.html: what happened in a run, on one page that needs nothing beside it."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import cast

from daemon.demo.charts import Axes, Line, Mark, chart
from daemon.demo.daemon_client import Seen, Snapshot
from daemon.demo.documents import Json, part
from daemon.demo.journal import Journal, Said, Served

BIN_S = 5.0
"""Seconds a point of the traffic charts stands for."""
THRESHOLD = 20.0
"""E-value at which a canary decision falls (1 / 0.05); drawn as the dashed line."""
LEAST_E = 1e-4
"""E-values below it are drawn there: how sure "no" is says nothing more."""
TOLD = ("cause", "terms", "share", "direction", "usual", "level", "value", "auc", "p_value", "rewards")
"""What is told of an alarm's evidence, in this order; `homeostat why` has all of it."""
STYLE = """
body{font:15px/1.5 system-ui,sans-serif;max-width:900px;margin:2rem auto;padding:0 1rem;color:#1e293b;background:#fff}
table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}
figure{margin:1.2rem 0}figcaption{font-weight:600}svg{width:100%;height:auto}svg text{font:11px system-ui,sans-serif;
fill:#475569}.grid{stroke:#e2e8f0}.level{stroke:#dc2626;stroke-dasharray:5 4}.mark{stroke:#94a3b8;stroke-dasharray:2 3}
svg text.mark{stroke:none;fill:#64748b}td:first-child{white-space:nowrap;font-variant-numeric:tabular-nums}
summary{cursor:pointer}.bad{color:#b91c1c}.good{color:#047857}small{color:#64748b}
"""


@dataclass(slots=True)
class Story:
    """What the page is made from."""

    title: str
    began_at: float
    table: list[tuple[str, str]]
    failures: list[str]
    marks: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    """(wall-clock seconds, word)."""


def write_report(path: Path, story: Story, journal: Journal, seen: Seen, new_desks: frozenset[str]) -> None:
    """Write the page. Raises OSError."""
    path.write_text(page(story, journal, seen, new_desks), encoding="utf-8")


def page(story: Story, journal: Journal, seen: Seen, new_desks: frozenset[str]) -> str:
    """The page as text."""
    served, said, snapshots = list(journal.served), list(journal.said), list(seen.snapshots)
    end = max([r.done_at for r in served[-1:]] + [s.at for s in snapshots[-1:]] + [story.began_at + 1.0])
    x = (0.0, end - story.began_at)
    marks = [Mark(at - story.began_at, word) for at, word in story.marks]
    unit = Axes(x, (0.0, 1.0))
    t0 = story.began_at
    parts = [
        chart("Right replies that users received, by the oracle", _by_desk(served, new_desks, t0), marks, unit),
        chart("Reward by arm (mean of the feedback on exchanges of these seconds)", _by_arm(said, t0), marks, unit),
        chart("Routes: share of requests by version", _by_version(served, t0), marks, unit),
        _evidence_chart(snapshots, marks, x, t0),
    ]
    verdict = "".join(f'<li class="bad">{escape(f)}</li>' for f in story.failures)
    head = f"<ul>{verdict}</ul>" if verdict else '<p class="good">Every check holds.</p>'
    table = "".join(f"<tr><th>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in story.table)
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(story.began_at))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(story.title)}</title>'
        f"<style>{STYLE}</style></head><body><h1>{escape(story.title)}</h1><p><small>{when}</small></p>{head}"
        f"<table>{table}</table>{''.join(parts)}{_alarms(seen, t0)}{_ledger(seen.events, t0)}</body></html>\n"
    )


def binned(rows: Iterable[tuple[float, str, float]], began_at: float) -> dict[str, list[tuple[float, float]]]:
    """Means by name and bin of (time, name, value) rows: name to (seconds, mean) points."""
    sums: dict[str, dict[int, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for at, name, value in rows:
        cell = sums[name][int((at - began_at) // BIN_S)]
        cell[0] += value
        cell[1] += 1.0
    return {
        name: [((k + 0.5) * BIN_S, total / count) for k, (total, count) in sorted(cells.items())]
        for name, cells in sums.items()
    }


def _lines(points: dict[str, list[tuple[float, float]]]) -> list[Line]:
    return [Line(name, points[name]) for name in sorted(points)]


def _by_desk(rows: Sequence[Served], new_desks: frozenset[str], began_at: float) -> list[Line]:
    def name(row: Served) -> str:
        return row.desk if row.desk in new_desks else "old desks"

    return _lines(binned(((r.sent_at, name(r), float(r.right)) for r in rows), began_at))


def _by_arm(rows: Sequence[Said], began_at: float) -> list[Line]:
    told = ((r.about_sent_at, r.arm or "no rollout", r.reward) for r in rows if r.ok)
    return _lines(binned(told, began_at))


def _by_version(rows: Sequence[Served], began_at: float) -> list[Line]:
    versions = sorted({r.version or "unknown" for r in rows})

    def series(version: str) -> Line:
        told = ((r.sent_at, version, float((r.version or "unknown") == version)) for r in rows)
        return Line(version, binned(told, began_at).get(version, []))

    return [series(version) for version in versions]


def _evidence_chart(snapshots: Sequence[Snapshot], marks: list[Mark], x: tuple[float, float], began_at: float) -> str:
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for snap in snapshots:
        for name, e in snap.evidence.items():
            series[name].append((snap.at - began_at, e))
    values = [e for points in series.values() for _, e in points]
    axes = Axes(x, (max(LEAST_E, min([1e-2, *values])), max([100.0, *values])), log=True)
    return chart("E-values of the rollout (a decision falls at 20)", _lines(series), marks, axes, THRESHOLD)


def _alarms(seen: Seen, began_at: float) -> str:
    known = sorted(seen.alarms.values(), key=lambda a: float(a["at"]))
    acting, informing = ([a for a in known if bool(a.get("confirmed")) is is_so] for is_so in (True, False))
    table = _alarm_table(acting, began_at) if acting else "<p>None.</p>"
    rest = f"{len(informing)} that inform only, or that a second look dismissed"
    more = f"<details><summary>{rest}</summary>{_alarm_table(informing, began_at)}</details>" if informing else ""
    return f"<h2>Alarms</h2>{table}{more}"


def _alarm_table(alarms: Iterable[Json], began_at: float) -> str:
    rows = [
        f"<tr><td>{float(a['at']) - began_at:.1f} s</td><td>{escape(str(a.get('kind')))}</td>"
        f"<td>{escape(str(a.get('detector')))}</td><td>{escape(_evidence_words(a))}</td></tr>"
        for a in alarms
    ]
    return f"<table>{''.join(rows)}</table>"


def _evidence_words(alarm: Json) -> str:
    evidence = part(alarm, "evidence")
    return "; ".join(f"{name.replace('_', ' ')} {_shown(evidence[name])}" for name in TOLD if name in evidence)


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(str(v) for v in cast(list[object], value))
    return f"{value:.3g}" if isinstance(value, float) else str(value).replace("_", " ")


def _ledger(events: Iterable[Json], began_at: float) -> str:
    rows = [
        f"<tr><td>{float(e['at']) - began_at:.1f} s</td><td>{escape(str(e.get('kind')))}</td>"
        f"<td>{escape(str(e.get('subject')))}</td><td>{escape(str(e.get('reason')))}</td></tr>"
        for e in events
    ]
    return f"<h2>Ledger</h2><table>{''.join(rows)}</table>"
