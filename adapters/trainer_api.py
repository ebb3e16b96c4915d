"""How a trainer reaches the daemon: two calls behind a port, over HTTP in production."""

from __future__ import annotations

from typing import Final, Protocol

import httpx
from pydantic import ValidationError

from adapters.job import ClaimRequest, JobReport, ReportAnswer, TrainJob

_JSON: Final = {"content-type": "application/json"}


class DaemonAway(Exception):
    """The peer: nobody answers, or the daemon has trouble of its own. Worth another try."""


class TrainerRefused(Exception):
    """The configuration's fault: the daemon does not let this trainer in. Another try will not help."""


class TrainerApi(Protocol):
    """What a trainer needs of the daemon."""

    def claim(self, worker: str) -> TrainJob | None:
        """A job to do, or None. Raises DaemonAway and TrainerRefused."""
        ...

    def report(self, job_id: str, report: JobReport) -> bool:
        """Tell how a job stands; False: nobody waits for it any more. Raises DaemonAway and TrainerRefused."""
        ...


class HttpTrainerApi:
    """The daemon's HTTP API, as one client of it."""

    def __init__(self, url: str, token: str, timeout_s: float = 10.0, settle_timeout_s: float = 120.0) -> None:
        """`token` has the scope `train`. The daemon checks every byte of a finished version before it answers, so the
        end of a job may take `settle_timeout_s`."""
        self._client = httpx.Client(
            base_url=url, headers={"authorization": f"Bearer {token}"}, timeout=timeout_s, follow_redirects=False
        )
        self._timeout_s, self._settle_timeout_s = timeout_s, settle_timeout_s
        self._url = url

    def claim(self, worker: str) -> TrainJob | None:
        """See TrainerApi."""
        answer = self._post("/api/v1/trainer/claim", ClaimRequest(worker=worker).model_dump_json(), self._timeout_s)
        if answer.status_code == 204:
            return None
        try:
            return TrainJob.model_validate_json(self._expect_200(answer).content)
        except ValidationError as error:
            fields = sorted({".".join(map(str, e["loc"])) for e in error.errors()})
            raise TrainerRefused(
                f"{self._url} gave a job that this trainer does not understand ({', '.join(fields)}): "
                "run daemon and trainer in the same version"
            ) from error

    def report(self, job_id: str, report: JobReport) -> bool:
        """See TrainerApi. An answer that the job is unknown counts as "nobody waits"."""
        timeout = self._timeout_s if report.kind == "progress" else self._settle_timeout_s
        answer = self._post(f"/api/v1/trainer/jobs/{job_id}", report.model_dump_json(), timeout)
        if answer.status_code in (404, 409, 410):
            return False
        try:
            return ReportAnswer.model_validate_json(self._expect_200(answer).content).go_on
        except ValidationError as error:
            raise DaemonAway(f'{self._url}: expected {{"continue": true or false}}, got something else') from error

    def close(self) -> None:
        """Release the connections."""
        self._client.close()

    def _post(self, path: str, body: str, timeout_s: float) -> httpx.Response:
        try:
            return self._client.post(path, content=body, headers=_JSON, timeout=timeout_s)
        except httpx.HTTPError as error:
            raise DaemonAway(f"nobody answers at {self._url}: {type(error).__name__}") from error

    def _expect_200(self, answer: httpx.Response) -> httpx.Response:
        if answer.status_code == 200:
            return answer
        if answer.status_code in (401, 403):
            raise TrainerRefused(
                f"{self._url} does not accept this trainer's token ({answer.status_code}): "
                "use secrets/trainer.token of the same home folder"
            )
        if 400 <= answer.status_code < 500 and answer.status_code != 429:
            raise TrainerRefused(f"{self._url} refused the trainer with {answer.status_code}: is this a homeostat?")
        raise DaemonAway(f"{self._url} answered {answer.status_code}")
