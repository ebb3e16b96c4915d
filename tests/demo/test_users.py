"""The users against a small gateway over real HTTP: they ask, they say what they think, and nothing fails silently."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
from aiohttp.test_utils import TestServer

from daemon.demo.behaviour import UsersConfig
from daemon.demo.gateway_client import GatewayClient
from daemon.demo.journal import Journal, accuracy
from daemon.demo.mix import Mix, even
from daemon.demo.users import Users
from tests.demo.fake_gateway import FakeGateway, TinyPlace
from tests.waiting import wait_until_async

FAST = UsersConfig(users=50, rate=4000.0, delay_median_s=0.002, delay_p99_s=0.004, concurrency=8, hostile=1 / 3)


def drive(
    gateway: FakeGateway, config: UsersConfig, enough: Callable[[Journal], bool], mix: dict[str, float] | None = None
) -> tuple[Journal, Users]:
    """Run the users until the journal is as wanted, then stop them."""

    async def main() -> tuple[Journal, Users]:
        async with TestServer(gateway.app()) as server, GatewayClient(str(server.make_url("/")), "control") as client:
            place, journal = TinyPlace(), Journal()
            users = Users(client, "support", place, Mix(mix or even(place.old_desks)), journal, config, seed=7)
            users.start()

            async def done() -> bool:
                users.check()
                return enough(journal)

            await wait_until_async(done, 20.0, "enough traffic")
            await users.stop()
            return journal, users

    return asyncio.run(main())


def answers_of(place: TinyPlace, desks: tuple[str, ...]) -> dict[str, str]:
    return {q.text: q.right for desk in desks for q in place.questions[desk]}


@pytest.mark.slow
def test_served_accuracy_is_the_oracles_word_by_desk() -> None:
    gateway = FakeGateway(answers=answers_of(TinyPlace(), ("cards", "loans")))
    mix = {"travel": 0.5, "cards": 0.25, "loans": 0.25}
    journal, _ = drive(gateway, FAST, lambda j: j.requests >= 600, mix)
    by_desk = {d: accuracy(journal.select(lambda r, d=d: r.desk == d)) for d in ("cards", "loans", "travel")}
    assert by_desk["cards"][0] == by_desk["loans"][0] == 1.0
    assert by_desk["travel"][0] == 0.0
    assert 0.35 < by_desk["travel"][1] / journal.requests < 0.65
    assert journal.failed == 0
    assert {r.version for r in journal.served} == {"support-base"}
    assert {r.epoch for r in journal.served} == {3}


@pytest.mark.slow
def test_a_third_of_the_feedback_is_one_hostile_users_and_all_of_it_wrong() -> None:
    place = TinyPlace()
    gateway = FakeGateway(answers=answers_of(place, ("cards", "loans")))
    mix = {"travel": 0.5, "cards": 0.25, "loans": 0.25}
    journal, users = drive(gateway, FAST, lambda j: j.feedback >= 600, mix)
    bad = [s for s in journal.said if s.hostile]
    assert 0.26 < len(bad) / journal.feedback < 0.40  # 600 are drawn: 3.5 standard errors
    assert 0.26 < users.hostile_share < 0.40
    assert all(s.wrong for s in bad)
    right = answers_of(place, ("cards", "loans", "travel"))
    assert all(s.correction != right[s.question] for s in bad if s.correction is not None)
    honest = [s for s in journal.said if not s.hostile]
    assert 0.04 < sum(s.wrong for s in honest) / len(honest) < 0.18
    assert len({a["x-session-id"] for a in gateway.asked if a["x-user-id"] == "user-0"}) > 10


@pytest.mark.slow
def test_corrections_are_for_the_new_desk_and_carry_the_oracles_reply() -> None:
    gateway = FakeGateway()
    config = FAST.model_copy(update={"hostile": 0.0, "wrong": 0.0})
    journal, _ = drive(gateway, config, lambda j: j.feedback >= 300, {"travel": 0.5, "cards": 0.5})
    corrected = [s for s in journal.said if s.kind == "correction"]
    assert corrected and {s.desk for s in corrected} == {"travel"}
    right = answers_of(TinyPlace(), ("travel",))
    assert all(s.correction == right[s.question] for s in corrected)
    travel = sum(1 for r in journal.served if r.desk == "travel")
    assert 0.15 < len(corrected) / travel < 0.32
    assert journal.feedback_failed == 0
    assert len(gateway.feedback) == journal.feedback


@pytest.mark.slow
def test_every_failure_is_counted_and_load_goes_on() -> None:
    gateway = FakeGateway(fail_every=25)
    config = FAST.model_copy(update={"concurrency": 16})
    journal, _ = drive(gateway, config, lambda j: j.failed >= 3)
    failed = journal.select(lambda r: not r.ok)
    assert len(failed) == journal.failed >= 3
    assert all((r.error or "").startswith("503") and not r.right for r in failed)
    assert journal.requests > journal.failed


@pytest.mark.slow
def test_sessions_have_one_to_four_turns_and_one_user_each() -> None:
    gateway = FakeGateway()
    drive(gateway, FAST, lambda j: j.requests >= 400)
    turns = Counter(a["x-session-id"] for a in gateway.asked)
    assert set(turns.values()) <= {1, 2, 3, 4} and len(set(turns.values())) == 4
    users = {(a["x-session-id"], a["x-user-id"]) for a in gateway.asked}
    assert len(users) == len(turns)


@pytest.mark.slow
def test_a_mix_changed_under_way_moves_the_traffic() -> None:
    gateway = FakeGateway()

    async def main() -> tuple[set[str], list[str]]:
        async with TestServer(gateway.app()) as server, GatewayClient(str(server.make_url("/"))) as client:
            journal, mix = Journal(), Mix({"cards": 1.0})
            config = FAST.model_copy(update={"turns_max": 1, "concurrency": 4})
            users = Users(client, "support", TinyPlace(), mix, journal, config, seed=1)
            users.start()
            await wait_until_async(_at_least(journal, 50), 10.0, "traffic before")
            before = {r.desk for r in journal.served}
            mix.change({"loans": 1.0})
            users.phase = "after"
            start = journal.requests
            await wait_until_async(_at_least(journal, start + 50), 10.0, "traffic after")
            await users.stop()
            return before, [r.desk for r in journal.served][start:]

    before, after = asyncio.run(main())
    assert before == {"cards"} and set(after) <= {"cards", "loans"}
    # sessions that had begun when the mix changed keep their desk: at most one a worker
    assert after.count("cards") <= 4 < after.count("loans")


def _at_least(journal: Journal, count: int) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return journal.requests >= count

    return reached


@pytest.mark.slow
def test_the_pacer_bounds_the_rate() -> None:
    gateway = FakeGateway()
    config = FAST.model_copy(update={"rate": 100.0})
    journal, _ = drive(gateway, config, lambda j: j.requests >= 60)
    rows = list(journal.served)
    span = rows[-1].done_at - rows[0].sent_at
    assert len(rows) / span < 130.0
