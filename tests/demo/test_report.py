"""The page: whole without anything beside it, and safe whatever a version or a desk is called."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from daemon.demo.charts import Axes, Line, Mark, chart
from daemon.demo.daemon_client import Seen, Snapshot
from daemon.demo.journal import Journal, Said, Served
from daemon.demo.report import Story, binned, page

T0 = 1000.0


def a_run() -> tuple[Journal, Seen]:
    journal, seen = Journal(), Seen()
    for i in range(40):
        arm = "canary" if i % 2 else "control"
        desk = "travel" if i % 4 else "cards"
        journal.add(Served(T0 + i, T0 + i + 0.1, desk, "drift", True, i % 3 > 0, f"support-{arm}", arm, 3))
        journal.add_said(
            Said(T0 + i + 2, T0 + i, desk, "thumb", float(i % 2), arm, "v", False, False, "q", None, f"e{i}", True)
        )
    seen.snapshots.append(Snapshot(T0 + 20, "rolling", "canary_small", 0.1, {"harm": 0.4, "superiority": 2.0}))
    seen.snapshots.append(Snapshot(T0 + 30, "rolling", "canary_half", 0.5, {"harm": 0.2, "superiority": 25.0}))
    seen.alarms["a1"] = {
        "alarm_id": "a1", "at": T0 + 5, "kind": "input", "detector": "mewma", "confirmed": True, "primary": True,
        "evidence": {"auc": 0.98, "terms": ["<script>alert(1)</script>"]},
    }  # fmt: skip
    seen.events.append({"id": 1, "at": T0 + 6, "kind": "cycle", "subject": "c1", "reason": "input_drift", "data": {}})
    return journal, seen


def test_page_is_self_contained_and_escapes_what_it_shows() -> None:
    journal, seen = a_run()
    story = Story("homeostat demo", T0, [("new desk", "<b>1 %</b>")], ["x<y: no"], [(T0 + 5, "drift")])
    html = page(story, journal, seen, frozenset({"travel"}))
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", html)
    assert "<script" not in html and "<b>1 %" not in html and "&lt;b&gt;1 %" in html
    assert "x&lt;y: no" in html
    for what in ("Reward by arm", "E-values", "Routes", "input_drift", "mewma", "canary", "&lt;script&gt;"):
        assert what in html
    drawings = re.findall(r"<svg.*?</svg>", html, re.DOTALL)
    assert len(drawings) == 4
    for drawing in drawings:
        ElementTree.fromstring(drawing)


def test_a_run_that_failed_at_once_still_has_a_page() -> None:
    html = page(Story("homeostat demo", T0, [], ["scenario: nothing came"], []), Journal(), Seen(), frozenset())
    assert "nothing came" in html and "None." in html


def test_bins_are_means_by_name() -> None:
    rows = [(T0 + 1, "a", 1.0), (T0 + 4, "a", 0.0), (T0 + 6, "a", 1.0), (T0 + 1, "b", 1.0)]
    assert binned(rows, T0) == {"a": [(2.5, 0.5), (7.5, 1.0)], "b": [(2.5, 1.0)]}


def test_chart_keeps_points_inside_its_frame() -> None:
    axes = Axes((0.0, 10.0), (1.0, 100.0), log=True)
    assert axes.py(1.0) > axes.py(10.0) > axes.py(100.0)
    assert axes.py(1e9) == axes.py(100.0)
    drawing = chart("a & b", [Line("e", [(0.0, 1.0), (5.0, 50.0)], step=True)], [Mark(3.0, "now")], axes, 20.0)
    svg = ElementTree.fromstring(drawing).find("svg")
    assert svg is not None and svg.attrib["aria-label"] == "a & b"
    points = [float(p.split(",")[0]) for p in svg.findall("polyline")[0].attrib["points"].split()]
    assert points == sorted(points) and len(points) == 3


def test_words_of_marks_that_stand_together_do_not_overlap_and_what_finds_no_room_keeps_its_line() -> None:
    axes = Axes((0.0, 100.0), (0.0, 1.0))
    marks = [Mark(50.0 + 0.1 * n, f"word-{n}") for n in range(6)] + [Mark(0.0, "word-6")]
    svg = ElementTree.fromstring(chart("t", [], marks, axes)).find("svg")
    assert svg is not None
    words = [t for t in svg.findall("text") if t.attrib.get("class") == "mark"]
    assert len({t.attrib["y"] for t in words if t.text != "word-6"}) == len(words) - 1 == 4
    assert len([line for line in svg.findall("line") if line.attrib["class"] == "mark"]) == 7
