"""The figures: bounds by hand, the two witnesses of a roll-back, the checks by name."""

from __future__ import annotations

import asyncio
import math

import pytest
from aiohttp.test_utils import TestServer

from daemon.demo.baseline import tfidf_accuracy
from daemon.demo.figures import AlarmFigures, DemoFigures, NewDesk, OldDesks, Rollback, failures
from daemon.demo.gateway_client import GatewayClient
from daemon.demo.journal import Served
from daemon.demo.measure import after_ack, ask_all, ask_both, old_questions, paired_loss
from daemon.demo.options import Bars
from daemon.demo.places import Question
from tests.demo.fake_gateway import FakeGateway, TinyPlace


def served(sent_at: float, version: str, ok: bool = True, done_at: float | None = None) -> Served:
    return Served(sent_at, done_at if done_at is not None else sent_at + 0.1, "cards", "x", ok, ok, version)


def test_paired_loss_by_hand() -> None:
    before, after = [True] * 90 + [False] * 10, [True] * 87 + [False] * 3 + [True] * 2 + [False] * 8
    loss = paired_loss(before, after)
    mean = 0.01
    variance = (3 * (1 - mean) ** 2 + 2 * (-1 - mean) ** 2 + 95 * mean**2) / 99
    assert (loss.before, loss.after, loss.n) == (0.90, 0.89, 100)
    assert loss.loss_upper95 == pytest.approx(mean + 1.6448536 * math.sqrt(variance / 100))


def test_paired_loss_is_never_certain_and_needs_pairs() -> None:
    assert paired_loss([True] * 1000, [True] * 1000).loss_upper95 == pytest.approx(1.6448536 / 1000)
    with pytest.raises(ValueError, match="same length"):
        paired_loss([True], [True])


def test_rollback_is_seen_by_the_senders() -> None:
    rows = [served(1.0, "old"), served(3.0, "new"), served(3.5, "old")]
    assert after_ack(rows, "old", returned_at=2.0, last_dispatch=None, acked_at=1.9) == 1
    assert after_ack(rows[:2], "old", returned_at=2.0, last_dispatch=1.8, acked_at=1.9) == 0


def test_rollback_is_seen_by_the_gateway_where_senders_cannot_tell() -> None:
    on_the_way = [served(1.85, "old", done_at=2.4)]
    assert after_ack(on_the_way, "old", returned_at=2.0, last_dispatch=1.95, acked_at=1.9) == 1


def test_two_versions_by_name_are_paired() -> None:
    place = TinyPlace()
    questions = old_questions(place.tests, list(place.old_desks), 6, seed=1)
    assert len(questions) == 6 and {q.desk for q in questions} == {"cards", "loans"}
    gateway = FakeGateway(answers={q.text: q.right for q in questions if q.desk == "cards"})

    async def main() -> None:
        async with TestServer(gateway.app()) as server, GatewayClient(str(server.make_url("/")), "control") as client:
            loss = await ask_both(client, "support-aa", "support-bb", questions, 4, 16)
            assert (loss.before, loss.after, loss.n, loss.failed) == (0.5, 0.5, 6, 0)
            answers = await ask_all(client, "support", questions, 4, 16, who="visitor")
            assert [a.question for a in answers] == questions and sum(a.right for a in answers) == 3

    asyncio.run(main())
    models = [a["model"] for a in gateway.asked]
    assert models.count("support-aa") == models.count("support-bb") == 6
    assert len({a["x-session-id"] for a in gateway.asked if a["model"] == "support"}) == 6


@pytest.mark.slow
def test_baseline_learns_what_the_corrections_say() -> None:
    pairs = [(f"please {w} number {i}", r) for i in range(8) for w, r in (("refund", "A"), ("upgrade", "B"))]
    questions = [Question("could you refund me", "travel", "A"), Question("an upgrade please", "travel", "B")]
    assert tfidf_accuracy(pairs, questions) == 1.0
    assert tfidf_accuracy(pairs[:1], questions) is None


def good() -> DemoFigures:
    return DemoFigures(
        seconds=200.0,
        base_seconds=60.0,
        alarms=AlarmFigures(before=0, kind="input", delay_exchanges=100),
        new_desk=NewDesk(before=0.01, after=0.85, n=600, n_before=900),
        old_desks=OldDesks(before=0.92, after=0.91, n=1000, loss_upper95=0.018),
        rollback=Rollback(failed=0, dispatched_after_ack=0, ms=20.0, requests=400),
        requests=9000,
    )


def test_a_good_run_has_no_failures() -> None:
    assert failures(good(), Bars()) == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"alarms": AlarmFigures(before=1, kind="input")}, "no_alarm_before_drift"),
        ({"alarms": AlarmFigures(before=0, kind="reward")}, "alarm_of_right_kind"),
        ({"alarms": AlarmFigures(before=0, kind=None)}, "alarm_of_right_kind"),
        ({"new_desk": NewDesk(before=0.3, after=0.9, n=600, n_before=900)}, "new_desk_before"),
        ({"new_desk": NewDesk(before=0.0, after=0.79, n=600, n_before=900)}, "new_desk_after"),
        ({"new_desk": NewDesk(before=0.0, after=0.9, n=299, n_before=900)}, "new_desk_n"),
        ({"new_desk": NewDesk(before=0.0, after=0.9, n=600, n_before=299)}, "new_desk_n"),
        ({"old_desks": OldDesks(before=0.9, after=0.9, n=1000, loss_upper95=0.0201)}, "old_desks_loss"),
        ({"old_desks": OldDesks(before=0.9, after=0.9, n=999, loss_upper95=0.01)}, "old_desks_n"),
        ({"rollback": Rollback(failed=1, dispatched_after_ack=0, ms=9.0, requests=9)}, "rollback_failed_requests"),
        ({"rollback": Rollback(failed=0, dispatched_after_ack=1, ms=9.0, requests=9)}, "rollback_after_ack"),
        ({"rollback": Rollback(failed=0, dispatched_after_ack=0, ms=251.0, requests=9)}, "rollback_ms"),
        ({"rollback": Rollback(failed=0, dispatched_after_ack=0, ms=1.0, requests=0)}, "rollback_under_load"),
        ({"failed": 1}, "serving_without_a_pause"),
        ({"seconds": 300.0}, "seconds"),
        ({"base_seconds": 121.0}, "base_seconds"),
    ],
)
def test_each_bar_fails_by_name(change: dict[str, object], name: str) -> None:
    found = failures(good().model_copy(update=change), Bars())
    assert [f.split(":")[0] for f in found] == [name]


def test_a_run_that_never_got_there_fails_every_figure_it_lacks() -> None:
    names = {f.split(":")[0] for f in failures(DemoFigures(), Bars())}
    assert {"alarm_of_right_kind", "new_desk_after", "old_desks_loss", "rollback_ms", "rollback_under_load"} <= names
