"""The trainer's HTTP client against a real server: what is worth another try, and what is not."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from adapters.job import JobReport
from adapters.trainer_api import DaemonAway, HttpTrainerApi, TrainerRefused
from tests.adapters.fake_training import make_job

REPORT = JobReport(kind="progress", worker="w", attempt=1, step=2, steps=4, metrics={"loss": 0.5})


class Desk:
    """Answers every request with `status` and `body`; keeps what was asked."""

    def __init__(self) -> None:
        self.status, self.body = 204, b""
        self.asked: list[tuple[str, str | None, dict[str, object]]] = []
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["content-length"]))
                desk.asked.append((self.path, self.headers["authorization"], json.loads(raw)))
                self.send_response(desk.status)
                self.send_header("content-length", str(len(desk.body)))
                self.end_headers()
                self.wfile.write(desk.body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def api(desk: Desk) -> Iterator[HttpTrainerApi]:
    made = HttpTrainerApi(desk.url, "secret-token", timeout_s=5.0)
    yield made
    made.close()


def test_claims_carry_token_and_name_and_bring_a_job_or_none(desk: Desk, api: HttpTrainerApi, tmp_path: Path) -> None:
    assert api.claim("worker-1") is None
    job = make_job(tmp_path)
    desk.status, desk.body = 200, job.model_dump_json().encode()
    assert api.claim("worker-1") == job
    assert desk.asked == [("/api/v1/trainer/claim", "Bearer secret-token", {"worker": "worker-1"})] * 2


@pytest.mark.parametrize(("body", "wanted"), [(b'{"continue": true}', True), (b'{"continue": false, "x": 1}', False)])
def test_reports_bring_whether_the_job_is_still_wanted(
    desk: Desk, api: HttpTrainerApi, body: bytes, wanted: bool
) -> None:
    desk.status, desk.body = 200, body
    assert api.report("job-1", REPORT) is wanted
    path, _, sent = desk.asked[0]
    assert path == "/api/v1/trainer/jobs/job-1"
    assert JobReport.model_validate(sent) == REPORT


@pytest.mark.parametrize("status", [404, 409, 410])
def test_an_unknown_job_is_not_wanted(desk: Desk, api: HttpTrainerApi, status: int) -> None:
    desk.status = status
    assert api.report("job-1", REPORT) is False


@pytest.mark.parametrize("status", [401, 403, 404, 422])
def test_a_refused_claim_is_not_worth_another_try(desk: Desk, api: HttpTrainerApi, status: int) -> None:
    desk.status = status
    with pytest.raises(TrainerRefused, match=str(status)):
        api.claim("w")


def test_a_job_of_another_version_is_refused_and_names_the_field(desk: Desk, api: HttpTrainerApi) -> None:
    desk.status, desk.body = 200, b'{"job_id": "job-1", "colour": "red"}'
    with pytest.raises(TrainerRefused, match="colour"):
        api.claim("w")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_daemon_in_trouble_is_worth_another_try(desk: Desk, api: HttpTrainerApi, status: int) -> None:
    desk.status = status
    for call in (lambda: api.claim("w"), lambda: api.report("job-1", REPORT)):
        with pytest.raises(DaemonAway, match=str(status)):
            call()


def test_an_answer_that_is_none_and_nobody_at_all_are_worth_another_try(
    desk: Desk, api: HttpTrainerApi, free_port: Callable[[], int]
) -> None:
    desk.status, desk.body = 200, b"<html>"
    with pytest.raises(DaemonAway, match="continue"):
        api.report("job-1", REPORT)
    with pytest.raises(DaemonAway, match="nobody answers"):
        HttpTrainerApi(f"http://127.0.0.1:{free_port()}", "t").claim("w")
