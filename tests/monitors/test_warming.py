"""Collecting the reference: time that is covered, and a fair sample where one session makes most of the traffic."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest

from monitors.confirm import Seen
from monitors.warming import Warming

DAY, SIZE = 86_400.0, 200


def restored(warming: Warming) -> Warming:
    return Warming.load(SIZE, DAY, json.loads(json.dumps(warming.dump())))


def sessions(count: int, clients: int, others: int) -> Iterator[Seen]:
    """A day and more: clients with one session key each; every prompt in ``others`` is somebody's only one."""
    for i in range(count):
        session = f"s{i}" if i % others == 0 else f"app{i % clients}"
        yield Seen(f"t{i % 7}", session, None, i * 1.2 * DAY / count)


def test_one_prompt_a_day_before_the_traffic_is_no_day() -> None:
    warming = Warming(SIZE, DAY)
    warming.append(Seen("test", "s", None, 0.0))
    for i in range(1_000):
        warming.append(Seen(f"t{i}", f"s{i}", None, DAY + i * 3.6))
    assert not warming.full and warming.span_s == pytest.approx(7_200.0 + 999 * 3.6)
    assert warming.events_an_hour == pytest.approx(1_001 / warming.span_s * 3_600.0), "of the time that is covered"


@pytest.mark.parametrize("others", [2, 7, 50])
def test_a_session_that_makes_most_of_the_traffic_is_thinned_and_not_dropped(others: int) -> None:
    whole, cut = Warming(SIZE, DAY), Warming(SIZE, DAY)
    for i, seen in enumerate(sessions(8_000, 1, others)):
        whole.append(seen)
        cut.append(seen)
        if i % 97 == 0:
            cut = restored(cut)
        assert len(whole.held) <= SIZE and (i < SIZE or len(whole.held) >= SIZE / 2)
    assert whole.full and cut.dump() == whole.dump()
    assert [one.at for one in whole.held] == sorted(one.at or 0.0 for one in whole.held)
    share = Counter(one.session for one in whole.held)["app0"] / len(whole.held)
    assert share == pytest.approx(1.0 - 1.0 / others, abs=0.12), "it has the share that it has of the traffic"
    early = sum((one.at or 0.0) < 0.6 * DAY for one in whole.held) / len(whole.held)
    assert early == pytest.approx(0.5, abs=0.12), "and so has each half of the time"


def test_prompts_of_one_text_do_not_go_as_one() -> None:
    warming = Warming(SIZE, DAY)
    for i in range(4_000):
        warming.append(Seen("are you there", "probe", None, i * 30.0))
    assert warming.full and SIZE / 2 <= len(warming.held) <= SIZE
    late = sum((one.at or 0.0) >= 60_000.0 for one in warming.held) / len(warming.held)
    assert late == pytest.approx(0.5, abs=0.12), "of all the time, not of its beginning"


def test_ten_clients_with_one_session_each_stay_most_of_them() -> None:
    warming = Warming(SIZE, DAY)
    for seen in sessions(8_000, 10, 8_000):
        warming.append(seen)
    assert len({one.session for one in warming.held}) >= 8


def test_a_reference_of_a_few_prompts_is_not_full() -> None:
    """As states of before this was counted may have it: nothing more is held of a session that was dropped."""
    warming = Warming(SIZE, DAY)
    for seen in sessions(400, 400, 400):
        warming.append(seen)
    assert warming.full
    few = warming.dump()
    few["held"], few["hashes"] = few["held"][:90], few["hashes"][:90]
    assert not Warming.load(SIZE, DAY, few).full


def test_states_of_before_load() -> None:
    warming = Warming(SIZE, DAY)
    for seen in sessions(150, 150, 150):
        warming.append(seen)
    rows = [one.row() for one in warming.held]
    older = {"cut": 1 << 32, "total": 150, "times": [0.0, 1.1 * DAY], "held": rows}
    again = Warming.load(SIZE, DAY, older)
    assert again.span_s == 1.1 * DAY and again.held == warming.held and not again.full
    for seen in sessions(1_000, 1, 50):
        again.append(seen)
    assert again.full and again.dump() == restored(again).dump()
    ruined = Warming.load(SIZE, DAY, older | {"cut": 99, "total": 4_000, "held": rows[:9]})
    assert ruined.total == 0 and ruined.span_s == 0.0, "what dropped the session is not mended by a few more prompts"
