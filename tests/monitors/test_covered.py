"""Time that values cover."""

from __future__ import annotations

import json
import math

import pytest

from monitors.covered import BACK_S, GAP_S, Covered

DAY = 86_400.0


def covered(*times: float | None) -> Covered:
    made = Covered()
    for at in times:
        made.append(at)
    return made


def test_a_pause_covers_two_hours_at_most() -> None:
    assert GAP_S == 7_200.0
    assert covered().span_s == 0.0 and covered(DAY).span_s == 0.0
    assert covered(*(i * 3_600.0 for i in range(25))).span_s == DAY, "a quiet hour between two values is covered"
    assert covered(0.0, DAY, DAY + 60.0).span_s == GAP_S + 60.0
    assert covered(1e6, 9e9).span_s == GAP_S, "one wrong clock is not a year"


def test_times_that_go_back_or_are_none_add_nothing() -> None:
    assert covered(100.0, 200.0, 150.0, 200.0, 0.0, 300.0).span_s == 200.0
    assert covered(None, 100.0, math.nan, 200.0, math.inf, -math.inf, None, 250.0).span_s == 150.0


def test_it_is_restored_bit_for_bit_and_so_is_what_was_stored_as_two_times() -> None:
    times = [1.7e9 + i * 977.1 + 9_000.3 * (i % 11 == 0) for i in range(60)]
    whole, cut = Covered(), Covered()
    for at in times:
        cut = Covered.load(json.loads(json.dumps(cut.dump())))
        whole.append(at)
        cut.append(at)
        assert cut.dump() == whole.dump() and cut.span_s == whole.span_s
    assert Covered().dump() is None
    old = Covered.load([100.0, 100.0 + DAY])
    assert old.span_s == DAY
    old.append(160.0 + DAY)
    assert old.span_s == pytest.approx(DAY + 60.0)


def test_a_clock_that_was_ahead_stops_nothing_for_long() -> None:
    ahead = covered(30 * DAY, *(i * 60.0 for i in range(61)))
    assert ahead.span_s == 3_600.0
    late = covered(8 * DAY, 8 * DAY - BACK_S, 8 * DAY + 60.0)
    assert late.span_s == 60.0, "feedback of a week ago is merely late"
