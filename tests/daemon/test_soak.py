"""The soak: what a candidate is asked on one replica before the others load it, and what ends it there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from daemon.mirrored import Request
from daemon.soak_task import SYNTHETIC, Soaked, SoakTask, soak
from daemon.store import Store, exchanges, ledger
from deploy.driver_errors import ControlRefused, DriverError, NotFinite, ServerFailed, UnknownModel, Unreachable
from deploy.rollout import Phase
from monitors.metrics import Metrics
from streams.events import Message, Sampling
from tests.daemon.events import exchange
from tests.daemon.fake_replier import FakeReplier, Say, mirrored
from tests.daemon.loop_bench import NEW, LoopBench
from tests.waiting import wait_until


def soaked(replier: FakeReplier, version: str, recorded: Sequence[Request]) -> Soaked:
    return soak(replier, version, recorded, Metrics())


def soaking(store: Store, replier: FakeReplier) -> SoakTask:
    return SoakTask(store, replier, "support", lambda: 5000.0, Metrics())


def recorded(count: int, sampling: Sampling | None = None) -> list[Request]:
    return [Request([{"role": "user", "content": f"question {n}"}], 8, sampling) for n in range(count)]


def on_recorded(reply: str) -> Say:
    """That reply to what users asked, another to what we made up."""
    return lambda text: reply if text.startswith("question") else "fine"


def test_a_candidate_that_answers_everything_passes_and_the_counts_are_told() -> None:
    replier = FakeReplier()
    found = soaked(replier, NEW, recorded(16))
    assert found == Soaked("", len(SYNTHETIC), 16)
    assert found.reason == "effect_proved_and_soaked"
    assert replier.quiet == len(replier.asked) == len(SYNTHETIC) + 16, "no request before the replica was quiet"
    assert (replier.versions, replier.finite) == ({NEW}, {True})


@pytest.mark.parametrize("count", [0, 16])
@pytest.mark.parametrize(
    ("error", "failed"),
    [
        (NotFinite("nan"), "soak_not_finite"),
        (ServerFailed("500"), "soak_server_failed"),
        (Unreachable("away"), "unreachable"),
    ],
)
def test_any_error_fails_it_by_name_and_one_of_the_replica_by_the_replicas(
    error: DriverError, failed: str, count: int
) -> None:
    found = soaked(FakeReplier(error=error), NEW, recorded(count))
    assert (found.failed, found.final) == (failed, isinstance(error, NotFinite))


def test_empty_replies_to_what_was_answered_before_fail_it() -> None:
    found = soaked(FakeReplier(on_recorded(" ")), NEW, recorded(16))
    assert (found.failed, found.final) == ("soak_empty_replies", True)
    assert soaked(FakeReplier(lambda t: "" if t == "question 3" else "x"), NEW, recorded(16)).failed == ""


@pytest.mark.parametrize(("temperature", "final"), [(0.0, True), (0.7, False), (None, False)])
def test_empty_replies_that_may_be_chance_are_no_last_word(temperature: float | None, final: bool) -> None:
    """Where the server's own default draws, nobody knows that it does not."""
    found = soaked(FakeReplier(on_recorded("")), NEW, recorded(16, Sampling(temperature=temperature)))
    assert (found.failed, found.final) == ("soak_empty_replies", final)


def test_without_traffic_the_synthetic_ones_stand_alone_by_name() -> None:
    found = soaked(FakeReplier(lambda t: "ok" if t == "Hello" else ""), NEW, [])
    assert (found.failed, found.mirrored, found.reason) == ("", 0, "soaked_on_synthetic_alone")
    assert soaked(FakeReplier(lambda _t: ""), NEW, []).failed == "soak_empty_replies"


def test_only_served_exchanges_with_their_text_are_sent_again_the_newest_first_to_stay(store: Store) -> None:
    sampling = [Sampling(temperature=n / 10, seed=n) for n in range(6)]
    kept = [exchange(n, completion_tokens=n, sampling=sampling[n]) for n in range(6)]
    useless = [
        exchange(10, status=500),
        exchange(11, completion=" "),
        exchange(12, messages=()),
        exchange(13, deployment="other"),
    ]
    with store.begin() as tx:
        exchanges.insert_new(tx, [*kept, *useless])
    replier = FakeReplier()
    task = soaking(store, replier)
    assert task.result(NEW, 4) is None
    assert wait_until(lambda: task.result(NEW, 4), 5.0, "the soak") == Soaked("", len(SYNTHETIC), 4)
    assert sorted(t for t in replier.asked if t.startswith("question")) == [f"question {n}" for n in (2, 3, 4, 5)]
    mirrored = sorted((r for r in replier.requests if r.sampling), key=lambda r: r.max_tokens)
    assert [r.max_tokens for r in mirrored] == [2, 3, 4, 5], "a reply takes no more room than the recorded one did"
    assert [r.sampling for r in mirrored] == sampling[2:], "and it is drawn as that one was"


def test_every_request_is_counted_by_what_came_of_it() -> None:
    metrics = Metrics()
    soak(FakeReplier(lambda t: "" if t == "question 3" else "x"), NEW, recorded(4), metrics)
    soak(FakeReplier(error=Unreachable("away")), NEW, [], metrics)
    soak(FakeReplier(error=NotFinite("nan")), NEW, [], metrics)
    count = {o: mirrored(metrics, "soak", o) for o in ("answered", "empty", "failed", "away")}
    assert (count["answered"], count["empty"]) == (len(SYNTHETIC) + 3, 1)
    assert 1 <= count["failed"] <= len(SYNTHETIC) and 1 <= count["away"] <= len(SYNTHETIC)


def test_a_rollout_waits_for_its_soak_without_counting_that_as_failure(tmp_path: Path, store: Store) -> None:
    answers: list[Soaked | None] = [None] * 8 + [Soaked("", 5, 16)]
    bench = LoopBench(tmp_path, store, soak=lambda _version, _requests: answers.pop(0))
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(9):
        controller.tick()
        assert bench.phase() in (Phase.STARTING, Phase.SOAKING)
    controller.tick()
    assert bench.phase() is Phase.PROVING
    with store.read() as read:
        entry = next(e for e in ledger.of_subject(read, "r1") if e.data.get("signal") == "soaked")
    assert (entry.reason, entry.data["soak_synthetic"], entry.data["soak_mirrored"]) == (
        "effect_proved_and_soaked",
        5,
        16,
    )


def test_a_server_may_fail_twice_before_that_is_the_candidates_end(store: Store) -> None:
    replier = FakeReplier(error=ServerFailed("500"))
    task = soaking(store, replier)

    def ends(count: int) -> list[tuple[str, bool]]:
        found = [wait_until(lambda: task.result(NEW, 4), 5.0, "the soak") for _ in range(count)]
        return [(f.failed, f.final) for f in found if f]

    failed = "soak_server_failed"
    assert ends(4) == [(failed, False), (failed, False), (failed, True), (failed, False)]
    replier.error = None
    assert ends(1) == [("", False)]
    replier.error = ServerFailed("500")
    assert ends(2) == [(failed, False), (failed, False)], "a success begins the count anew"


@pytest.mark.parametrize("error", [Unreachable("busy"), ControlRefused("token"), UnknownModel("restarted")])
def test_a_replica_that_is_away_in_the_soak_denies_nobody(tmp_path: Path, store: Store, error: DriverError) -> None:
    replier = FakeReplier(error=error)
    bench = LoopBench(tmp_path, store, soak=soaking(store, replier).result)
    bench.open_rollout()
    controller, _ = bench.daemon()
    controller.tick()

    def asked() -> bool:
        controller.tick()
        assert bench.phase() is Phase.SOAKING
        return len(replier.asked) > 40

    wait_until(asked, 20.0, "many soaks")
    replier.error = None

    def goes_on() -> bool:
        controller.tick()
        return bench.phase() is not Phase.SOAKING

    wait_until(goes_on, 20.0, "the soak")
    assert bench.phase() is Phase.PROVING


@pytest.mark.parametrize(("final", "ticks"), [(True, 2), (False, 4)])
def test_a_failed_soak_denies_the_candidate(tmp_path: Path, store: Store, final: bool, ticks: int) -> None:
    bench = LoopBench(tmp_path, store, soak=lambda _version, _requests: Soaked("soak_not_finite", final=final))
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(ticks):
        assert bench.phase() in (Phase.STARTING, Phase.SOAKING)
        controller.tick()
    assert bench.phase() is Phase.DENIED
    assert all(r.split is None for f in bench.host.history for r in f.routes)


def test_a_soak_that_fails_once_and_then_passes_goes_on(tmp_path: Path, store: Store) -> None:
    answers = [Soaked("soak_server_failed"), None, Soaked("", 5, 16)]
    bench = LoopBench(tmp_path, store, soak=lambda _version, _requests: answers.pop(0))
    bench.open_rollout()
    controller, _ = bench.daemon()
    for _ in range(4):
        controller.tick()
    assert bench.phase() is Phase.PROVING


def test_synthetic_requests_fit_into_a_small_context() -> None:
    assert all(sum(len(m["content"].encode()) for m in one.messages) <= 128 for one in SYNTHETIC)


def test_what_a_tool_said_is_not_sent_again(store: Store) -> None:
    """A server refuses such a turn without the call that it answers, and the candidate would be denied for it."""
    said = [Message(role=role, content="question") for role in ("user", "assistant", "tool")]
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n, messages=tuple(said[: 1 + n % 3])) for n in range(9)])
    replier = FakeReplier()
    task = soaking(store, replier)
    assert wait_until(lambda: task.result(NEW, 16), 5.0, "the soak") == Soaked("", len(SYNTHETIC), 6)
    assert all(m["role"] != "tool" for one in replier.requests for m in one.messages)
