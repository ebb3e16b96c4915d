"""The trainer as a process: killed in the middle, told to write NaN, told to end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adapters.job import JobReport, TrainJob
from streams.failpoints import VARIABLE
from tests.adapters.fake_training import FakeDaemon, make_job
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


class Desk:
    """A fake daemon behind HTTP."""

    def __init__(self, *jobs: TrainJob) -> None:
        self.daemon = FakeDaemon(*jobs)
        daemon = self.daemon

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                if self.path.endswith("/claim"):
                    job = daemon.claim("worker")
                    status, body = (204, b"") if job is None else (200, job.model_dump_json().encode())
                else:
                    go_on = daemon.report(self.path.rsplit("/", 1)[1], JobReport.model_validate_json(raw))
                    status, body = 200, json.dumps({"continue": go_on}).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(make_job(tmp_path), make_job(tmp_path, attempt=2))
    yield made
    made.server.shutdown()
    made.server.server_close()


def start(home: Path, desk: Desk, mode: str = "train", failpoints: str = "") -> subprocess.Popen[bytes]:
    """A trainer process; it never gets failpoints from the tests' own environment."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.adapters.trainer_process", str(home), desk.url, mode],
        env={**os.environ, VARIABLE: failpoints},
        stdout=subprocess.DEVNULL,
    )


def finish(process: subprocess.Popen[bytes]) -> int:
    """End it and return its status."""
    process.terminate()
    return process.wait(10)


def test_a_trainer_killed_in_the_middle_leaves_nothing_and_the_next_one_does_the_job(
    tmp_path: Path, desk: Desk
) -> None:
    once = f"trainer.kill_mid_job=kill_once:{tmp_path / 'killed'}"
    first = start(tmp_path, desk, failpoints=once)
    assert first.wait(20) == -signal.SIGKILL
    assert desk.daemon.ends() == []
    second = start(tmp_path, desk, failpoints=once)
    wait_until(desk.daemon.ends, 20.0, "the end of the second attempt")
    assert [(e.kind, e.attempt) for e in desk.daemon.ends()] == [("done", 2)]
    assert finish(second) == 0


def test_a_trainer_that_writes_nan_once_says_so_and_does_better_the_second_time(tmp_path: Path, desk: Desk) -> None:
    process = start(tmp_path, desk, failpoints=f"trainer.write_nan=raise_once:{tmp_path / 'spoilt'}")
    wait_until(lambda: len(desk.daemon.ends()) == 2, 20.0, "both attempts")
    assert [(e.kind, e.reason) for e in desk.daemon.ends()] == [("failed", "non_finite_weights"), ("done", None)]
    assert finish(process) == 0


@pytest.mark.parametrize("mode", ["train", "hang"])
def test_a_trainer_ends_at_sigterm_whatever_it_does(tmp_path: Path, desk: Desk, mode: str) -> None:
    process = start(tmp_path, desk, mode)
    busy = (lambda: desk.daemon.progress()) if mode == "hang" else (lambda: desk.daemon.claims > 2)
    wait_until(busy, 20.0, "the trainer to be at work")
    assert finish(process) == 0


def test_a_second_trainer_goes_away_by_itself(tmp_path: Path, desk: Desk) -> None:
    first = start(tmp_path, desk, "hang")
    wait_until(lambda: desk.daemon.claims, 20.0, "the first trainer")
    assert start(tmp_path, desk).wait(20) == 0
    assert first.poll() is None
    assert finish(first) == 0
