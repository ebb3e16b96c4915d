"""``homeostat backtest`` on a home folder with recorded traffic, beside a store that is open as a daemon has it."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from daemon.backtest.source import RecordedSource
from daemon.cli.backtest import instant, summary
from daemon.faults import ConfigError
from daemon.store import Store, exchanges, feedback, retention, tables
from daemon.store import ledger as entries
from deploy.rollout import Phase
from streams.codec import Decoded, decode
from streams.events import Exchange, Feedback, FeedbackKind
from tests.daemon.cli.shell import Shell
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said
from tests.daemon.recorded import CONFIG, record_rollout
from tests.monitors.traffic import traffic

POLICY = """
mode: auto
deployment: {name: support, base_dir: base}
agent: {replicas: [{name: replica-0, url: "http://127.0.0.1:1"}]}
join: {window_s: 60.0, lateness_s: 1.0}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    rollout = CONFIG.model_dump_json(exclude_none=True)
    (folder / "homeostat.yaml").write_text(POLICY + f"rollout: {rollout}\n")
    return folder


@pytest.fixture
def running(home: Path) -> Generator[Store]:
    """The home's store, open for writing."""
    opened = Store.open(f"sqlite:///{home}/store.db", "normal")
    yield opened
    opened.close()


def content(folder: Path) -> dict[str, str]:
    """Digest of each file but the shared memory of SQLite, whose locks readers take too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith("-shm")
    }


def backtest(shell: Shell, home: Path, *more: str) -> dict[str, Any]:
    result = shell("backtest", "--home", str(home), "--from", "1500", "--to", "90000", "--json", *more)
    assert result.code == 0, result.err
    return json.loads(result.out)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("good", "bad", "begins"),
    [
        (0.05, 0.95, Phase.CANARY_SMALL),
        (0.95, 0.3, Phase.CANARY_SMALL),
        (0.05, 0.95, Phase.SECOND_PROBATION),
        (0.5, 0.5, Phase.SECOND_PROBATION),
    ],
)
def test_the_same_policy_gives_the_recorded_verdict_and_writes_nothing(
    shell: Shell, home: Path, running: Store, good: float, bad: float, begins: Phase
) -> None:
    record_rollout(running, good, bad, begins=begins)
    before = content(home)
    found = backtest(shell, home)["rollouts"]
    assert content(home) == before
    assert len(found) == 1
    assert found[0]["same"], found
    assert found[0]["would_be"]["reason"] == found[0]["recorded"]["reason"]
    late = found[0]["would_be"]["units"] - found[0]["recorded"]["units"]
    assert -5 <= late <= 0, "what was recorded ends with the verdict of the day"


@pytest.mark.slow
def test_a_stricter_policy_is_not_convinced_by_the_same_traffic(
    shell: Shell, home: Path, running: Store, tmp_path: Path
) -> None:
    record_rollout(running, good=0.2, bad=0.8)
    strict = tmp_path / "strict.yaml"
    config = CONFIG.model_copy(update={"alpha": 1e-6}).model_dump_json(exclude_none=True)
    strict.write_text(POLICY + f"rollout: {config}\n")
    found = backtest(shell, home, "--config", str(strict))["rollouts"][0]
    assert (found["recorded"]["phase"], found["same"]) == ("rolled_back", False)
    assert (found["would_be"]["phase"], found["would_be"]["reason"]) == (None, "evidence_ended")
    assert 20.0 < found["would_be"]["evidence"]["e_harm"] < 1e6
    text = shell("backtest", "--home", str(home), "--from", "1500", "--to", "90000", "--config", str(strict)).out
    assert "rolled_back" in text and "undecided in canary_small" in text


@pytest.mark.slow
def test_a_replay_judges_by_the_alpha_that_the_year_had_left_for_the_rollout(
    shell: Shell, home: Path, running: Store
) -> None:
    """The home's config holds the alpha of a rollout that nothing was taken from."""
    record_rollout(running, good=0.95, bad=0.3, config=CONFIG.model_copy(update={"alpha_promote": 1e-5}))
    document = backtest(shell, home)
    found = document["rollouts"][0]
    assert found["same"], found
    assert any("the year had left less" in note for note in document["notes"])
    assert (found["would_be"]["needs"], found["would_be"]["needs_promote"]) == (20.0, pytest.approx(1e5))
    with running.read() as read:
        rows = [e for e in entries.about(read, "r1") if e.kind == "rollout" and "units" in e.data]
    steps = [(s["phase"], s["units"]) for s in found["would_be"]["steps"]]
    recorded = [(e.data["to_phase"], e.data["units"]) for e in rows]
    assert [phase for phase, _ in steps] == [phase for phase, _ in recorded]
    assert all(abs(again - before) <= 5 for (_, again), (_, before) in zip(steps, recorded, strict=True))


def drifting(store: Store, before: int, after: int) -> None:
    """Traffic of one desk, then of another whose replies people correct."""
    rng = random.Random(3)
    events = list(traffic(["old"], before, 1)) + list(traffic(["new"], after, 2, first=before))
    came: list[Exchange] = []
    spoken: list[Feedback] = []
    for n, event in enumerate(events):
        at = 2000.0 + n
        update = {
            "deployment": "support",
            "tenant": "default",
            "received_at": at,
            "dispatched_at": at,
            "completed_at": at + 0.1,
            "identity": f"u{rng.randrange(400)}",
        }
        came.append(event.model_copy(update=update))
        if n >= before:
            spoken.append(
                said(
                    n,
                    event.exchange_id,
                    kind=FeedbackKind.CORRECTION,
                    value=None,
                    correction=f"answer to {event.prompt}",
                    identity=update["identity"],
                    sent_at=at + 0.5,
                )
            )
    with store.begin() as tx:
        exchanges.insert_new(tx, came)
        feedback.insert_new(tx, spoken)


@pytest.mark.slow
def test_drift_gives_an_alarm_a_cycle_and_a_buffer_with_reasons(shell: Shell, home: Path, running: Store) -> None:
    drifting(running, 500, 400)
    running.close()
    policy = home / "homeostat.yaml"
    policy.write_text(
        POLICY
        + "monitors: {reference_size: 200, identity_cap: 50}\n"
        + "cycle: {min_labels: 100, min_selected: 5, slice_refit_s: 5.0}\n"
        + "gate: {min_old: 1, min_new: 1}\n"
        + "selection: {enabled: false}\n"
    )
    before = content(home)
    found = backtest(shell, home, "--from", "2400")
    assert content(home) == before, "read as immutable: not even a log of SQLite's is left"
    confirmed = [a for a in found["alarms"] if a["primary"] and a["confirmed"]]
    assert confirmed and confirmed[0]["at"] >= 2500.0 and confirmed[0]["terms"]
    assert found["window"]["replayed_from"] == 2000.0
    cycle = found["cycles"][0]
    assert cycle["alarm"] == confirmed[0]["id"]
    assert cycle["outcome"] == "enough_labels"
    roles = cycle["buffer"]["roles"]
    assert roles["new"] >= 5
    assert "out" not in roles and sum(cycle["buffer"]["left_out"].values()) > 0
    assert found["recorded_alarms"] == []
    text = summary(found)
    assert (
        "input_drift (" in text and f"new {roles['new']}" in text and "left out: " in text and "VERDICTS\nnone" in text
    )


def test_emptied_text_is_told_and_says_nothing(shell: Shell, home: Path, running: Store) -> None:
    drifting(running, 5, 5)
    with running.begin() as tx:
        exchanges.insert_new(tx, [exchange(9000, received_at=8000.0, completed_at=8001.0)])
        retention.forget_text(tx, 7000.0)
    found = backtest(shell, home)
    assert found["events"] == {
        "exchanges": 11,
        "feedback": 0,
        "exchanges_without_text": 10,
        "feedback_without_text": 5,
    }
    assert any("10 of 11 exchanges" in note for note in found["notes"])
    assert any("5 corrections" in note for note in found["notes"])


def test_events_come_in_the_order_in_which_they_happened(running: Store) -> None:
    spans = ((100.0, 5000.0), (200.0, 201.0), (4000.0, 4001.0), (9000.0, 9001.0))
    came = [exchange(n, received_at=a, dispatched_at=a, completed_at=b) for n, (a, b) in enumerate(spans)]
    with running.begin() as tx:
        exchanges.insert_new(tx, came)
        feedback.insert_new(tx, [said(0, "x1", sent_at=300.0), said(1, "x2", sent_at=4100.0)])
    source = RecordedSource(running, "support", 50.0, 8000.0, slice_s=60.0)
    order: list[str] = []
    clock: list[float] = []
    while records := source.poll(1000, 0.0):
        order += [found.event_id for found in map(decode, records) if isinstance(found, Decoded)]
        clock.append(source.now)
    assert order == ["x1", "f0", "x2", "f1", "x0"]
    assert clock == [201.0, 300.0, 4001.0, 4100.0, 5000.0]
    assert source.now == 8000.0, "at the end time goes on to the end of the window"


@pytest.mark.slow
def test_sessions_from_before_the_window_are_no_units(shell: Shell, home: Path, running: Store) -> None:
    """A session that began before the replay is old, though the replay has not seen its beginning."""
    record_rollout(running, good=0.05, bad=0.95)
    with running.begin() as tx:
        known = [x.session for x in exchanges.since(tx, "support", 0.0, 1e9, 10_000)]
        old = tables.sessions.c.session.in_(known[:5])
        tx.conn.execute(tables.sessions.update().where(old).values(first_at=10.0))
    would_be = backtest(shell, home)["rollouts"][0]["would_be"]
    assert (would_be["units"], would_be["phase"]) == (len(known) - 5, None)


def test_what_cannot_be_replayed_says_why(shell: Shell, home: Path, tmp_path: Path) -> None:
    argv = ("backtest", "--home", str(home), "--from", "1500", "--to", "2500")
    missing = shell(*argv)
    assert (missing.code, "store.db is not there" in missing.err) == (1, True)
    Store.open(f"sqlite:///{home}/store.db", "normal").close()
    nothing = shell(*argv)
    assert (nothing.code, "nothing of deployment support was recorded" in nothing.err) == (2, True)
    assert shell("backtest", "--home", str(home), "--from", "3000", "--to", "2500").code == 2
    assert shell("backtest", "--home", str(home), "--from", "yesterday").code == 2
    (home / "homeostat.yaml").write_text(POLICY + 'store: {url: "postgresql+psycopg://x@127.0.0.1/x"}\n')
    other = shell(*argv)
    assert (other.code, "embedded store" in other.err) == (2, True)


def test_times_as_people_write_them() -> None:
    assert instant("--from", "1500.5", 0.0) == 1500.5
    assert instant("--from", "2d", 200_000.0) == 200_000.0 - 172_800.0
    assert instant("--from", "2026-01-03T00:00:00+00:00", 0.0) == 1_767_398_400.0
    with pytest.raises(ConfigError, match="--to: expected"):
        instant("--to", "", 0.0)
