"""``homeostat power`` with a daemon and without one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from daemon.store import Store, exchanges, feedback
from tests.daemon.cli.shell import Served, Shell
from tests.daemon.events import exchange
from tests.daemon.events import feedback as said


def record(store: Store, sessions: int, rated: int) -> None:
    now = time.time()
    with store.begin() as tx:
        exchanges.insert_new(tx, [exchange(n, received_at=now - 1800.0 + n) for n in range(sessions)])
        feedback.insert_new(tx, [said(n, f"x{n}", value=n % 2 == 0) for n in range(rated)])


def test_the_daemon_knows_its_own_traffic(shell: Shell, served: Served, store: Store) -> None:
    home = ("--home", str(served.home))
    empty = shell("power", *home)
    assert (empty.code, "give --sessions-per-hour and --feedback-rate" in empty.err) == (4, True)
    record(store, sessions=100, rated=40)
    found = json.loads(shell("power", *home, "--json", "--effect", "0.1", "--effect", "0.2").out)
    assert found["assumed"]["source"] == "recent_traffic"
    assert abs(found["assumed"]["sessions_per_hour"] - 200.0) < 5.0
    assert found["assumed"]["feedback_rate"] == 0.4
    assert [row["effect"] for row in found["rows"]] == [0.1, 0.2]
    half = json.loads(shell("power", *home, "--json", "--feedback-rate", "0.8").out)
    assert (half["assumed"]["feedback_rate"], half["assumed"]["source"]) == (0.8, "recent_traffic")
    text = shell("power", *home, "--share", "0.2").out
    assert "balanced: alpha 0.05, of a wrong promotion 0.05" in text and "not counted here" not in text
    assert "40 % with feedback (from recent traffic)" in text
    assert "20 %" in text and "promoted after" in text
    assert "harm found, first step" in text and "harm found, second step" in text
    strict = json.loads(shell("power", *home, "--json", "--effect", "0.1", "--preset", "strict").out)
    assert (strict["policy"]["preset"], strict["policy"]["alpha"]) == ("strict", 0.01)
    assert strict["rows"][0]["hours_promoted"] > found["rows"][0]["hours_promoted"]
    unknown = shell("power", *home, "--preset", "bold")
    assert (unknown.code, "--preset: expected strict, balanced or fast, got 'bold'" in unknown.err) == (2, True)


def test_without_a_daemon_both_rates_are_enough_and_its_config_counts(
    shell: Shell, tmp_path: Path, free_port: Callable[[], int]
) -> None:
    (tmp_path / "homeostat.yaml").write_text(f"api: {{port: {free_port()}}}\nrollout: {{alpha: 0.01}}\n")
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/operator.token").write_text("x")
    home = ("--home", str(tmp_path))
    away = shell("power", *home, "--feedback-rate", "0.3")
    assert (away.code, "without it, give --sessions-per-hour and --feedback-rate" in away.err) == (3, True)
    rates = ("--sessions-per-hour", "1000", "--feedback-rate", "0.3")
    strict = json.loads(shell("power", *home, *rates, "--json").out)
    assert (strict["policy"]["alpha"], strict["assumed"]["source"]) == (0.01, "given")
    fast = json.loads(shell("power", *home, *rates, "--json", "--preset", "fast").out)["policy"]
    assert (fast["preset"], fast["margin_half"], fast["alpha"]) == ("fast", 0.08, 0.01), "the config's own alpha stays"
    assert shell("power", *home, *rates, "--preset", "Strict").code == 2
    assert shell("power", *rates, "--home", str(tmp_path / "nowhere")).code == 2
    assert shell("power", *home, *rates, "--effect", "1.5").code == 2
    assert shell("power", *home, *rates, "--share", "0").code == 2
    assert "not counted here" in shell("power", *home, *rates).out
    assert "never" in shell("power", *home, "--sessions-per-hour", "0", "--feedback-rate", "0.3").out
