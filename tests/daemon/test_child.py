"""The trainer's supervisor: back-off, one process at a time, stop."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.child import Backoff, Child, ChildOptions
from daemon.faults import ConfigError
from tests.waiting import wait_until


class Clock:
    """Seconds that move when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def child(tmp_path: Path, clock: Callable[[], float], code: str, python: str = sys.executable) -> Child:
    argv = [python, "-c", code]
    return Child(ChildOptions(argv, tmp_path / "trainer.log", Backoff(1.0, 8.0), {"EXTRA": "1"}), clock)


def test_the_wait_doubles_up_to_its_bound() -> None:
    assert [Backoff(1.0, 8.0).wait_s(n) for n in (1, 2, 3, 4, 5, 500)] == [1.0, 2.0, 4.0, 8.0, 8.0, 8.0]


def test_a_child_that_dies_is_started_again_after_its_wait(tmp_path: Path) -> None:
    clock = Clock()
    one = child(tmp_path, clock, "import os; print('life', os.environ['EXTRA'])")
    for life in (1, 2, 3):
        one.poll()
        wait_until(lambda: one.pid is None, 10.0, "the child's end")
        one.poll()
        assert one.restarts == life
        clock.now += 0.9 * 2 ** (life - 1)
        one.poll()
        assert one.pid is None
        clock.now += 0.2 * 2 ** (life - 1)
    assert (tmp_path / "trainer.log").read_text() == "life 1\n" * 3


def test_a_long_life_starts_the_waits_anew(tmp_path: Path) -> None:
    clock = Clock()
    one = child(tmp_path, clock, "pass")
    for expected in (1, 2, 1):
        one.poll()
        wait_until(lambda: one.pid is None, 10.0, "the child's end")
        clock.now += 9.0 if expected == 1 and one.restarts else 0.0
        one.poll()
        assert one.restarts == expected
        clock.now += 3.0


def test_stop_ends_a_child_that_will_not_and_it_stays_down(tmp_path: Path) -> None:
    clock = Clock()
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    one = child(tmp_path, clock, stubborn)
    one.poll()
    wait_until(lambda: "up" in (tmp_path / "trainer.log").read_text(), 10.0, "the child")
    pid = one.pid
    assert pid is not None and os.getpgid(pid) == pid
    one.stop(0.05)
    assert one.pid is None
    clock.now += 100.0
    one.poll()
    assert one.pid is None


def test_a_missing_interpreter_is_the_configs_fault(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"trainer\.python: /nowhere/python is not there"):
        child(tmp_path, Clock(), "", "/nowhere/python").poll()
