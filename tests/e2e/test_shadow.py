"""The shadow in the assembled daemon: recorded requests of real users keep a harmful candidate from them, and let a
candidate through that mends what they corrected.

What is right is decided by the test: where the base and the fine candidate agree that reply, elsewhere the fine
candidate's. Requests are drawn by a seed at a temperature, so that a mirrored request that were drawn in another way
would not give the candidate's own reply again.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from adapters.manifest import Manifest
from adapters.registry import Registry
from daemon.store import denials, ledger
from deploy.rollout import FINAL, Phase
from streams.events import Sampling
from tests.deploy.serving import CHAT, TOKEN, question
from tests.e2e import checks
from tests.e2e.daemons import Launcher
from tests.e2e.stand import Models, Stand
from tests.tiny_base import WORDS
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.trainer, pytest.mark.slow]
POOL: Final = 420
BLOCKS: Final = 14
"""Twelve of which all confirmed replies are lost end a rollout at alpha .05."""
TEMPERATURE: Final = 0.7
TOKENS: Final = 4


@dataclass(frozen=True)
class Asked:
    """One question of a user, and what came of it."""

    number: int
    text: str
    reply: str
    whole: bool
    """Whether it ended by itself."""
    version: str
    headers: httpx.Headers


class Users:
    """Each question comes from a user and a session of its own."""

    def __init__(self, url: str) -> None:
        limits = httpx.Limits(max_connections=8)
        self._http = httpx.Client(base_url=url, trust_env=False, timeout=30.0, limits=limits)
        self._numbers = itertools.count()
        self.asked: list[Asked] = []

    def ask(self) -> Asked:
        """A question of random words to the alias."""
        number = next(self._numbers)
        text = " ".join(random.Random(number).choices(WORDS.split(), k=4))
        headers = {"x-session-id": f"s{number}", "x-user-id": f"u{number}", "x-homeostat-control": TOKEN}
        body = question(text, temperature=TEMPERATURE, seed=number, max_tokens=TOKENS)
        answer = self._http.post(CHAT, json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        choice = answer.json()["choices"][0]
        version = answer.headers["x-homeostat-version"]
        said = str(choice["message"]["content"])
        found = Asked(number, text, said, choice["finish_reason"] == "stop", version, answer.headers)
        self.asked.append(found)
        return found

    def say(self, of: Asked, **feedback: Any) -> None:
        """Feedback with the token of the reply."""
        proof = {"exchange_id": of.headers["x-homeostat-exchange"], "token": of.headers["x-homeostat-token"]}
        answer = self._http.post("/v1/feedback", json=proof | feedback)
        assert answer.status_code == 202, answer.text

    def close(self) -> None:
        """Release the connections."""
        self._http.close()


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> tuple[Models, Manifest]:
    """A base whose replies end soon, a candidate that says other things, and one that stays near the base."""
    from tests.deploy.versions import register
    from tests.tiny_base import make_base

    folder = tmp_path_factory.mktemp("shadowed")
    base = make_base(folder / "base", end=4.0)
    registry = Registry(folder / "artifacts")
    harmful = register(registry, base, seed=1)
    return Models(base, folder / "artifacts", harmful), register(registry, base, seed=2, scale=0.02)


@pytest.fixture
def stand(tmp_path: Path, adapters: tuple[Models, Manifest], free_port: Callable[[], int]) -> Generator[Stand]:
    shadow = {"share": 1.0, "max_per_minute": 6000, "enough": 2 * BLOCKS, "wait_s": 120.0}
    made = Stand.make(tmp_path / "stand", adapters[0], free_port, 1, shadow=shadow, alpha=0.05)
    made.start_servers()
    yield made
    made.close()


def judge(stand: Stand, users: Users, fine: Manifest) -> tuple[int, int]:
    """Let users ask and say what is right; how many confirmed and corrected."""
    driver = stand.servers[0].driver()
    driver.load(fine.version, stand.home.artifacts / fine.version)

    def right(one: Asked) -> str:
        drawn = Sampling(temperature=TEMPERATURE, seed=one.number)
        return driver.chat(fine.version, [{"role": "user", "content": one.text}], TOKENS, drawn)

    try:
        with ThreadPoolExecutor(4) as pool:
            waiting = [pool.submit(users.ask) for _ in range(POOL)]
            asked = [one for found in waiting if (one := found.result()).whole and one.reply.strip()]
            truths = list(pool.map(right, asked))
    finally:
        driver.unload(fine.version)
        driver.close()
    confirmed = [one for one, truth in zip(asked, truths, strict=True) if truth == one.reply]
    corrected = [(one, truth) for one, truth in zip(asked, truths, strict=True) if truth != one.reply]
    for one in confirmed:
        users.say(one, value=True)
    for one, truth in corrected:
        users.say(one, kind="correction", correction=truth.strip() or "I do not know.")
    return len(confirmed), len(corrected)


def phase_reached(stand: Stand, users: Users, *phases: Phase) -> Phase:
    """Users go on asking until the rollout is in one of these phases."""
    daemon, looks = stand.supervisors[-1], itertools.count()

    def arrived() -> Phase | None:
        daemon.check()
        if next(looks) % 10 == 0:
            users.ask()
        phase = stand.phase()
        assert phase in phases or phase not in FINAL, f"the rollout ended {phase.value}: {daemon.tail()}"
        return phase if phase in phases else None

    found = wait_until(arrived, 60.0, f"the rollout to be {phases}")
    assert found is not None
    return found


def signal_of(stand: Stand, signal: str) -> ledger.Entry:
    with stand.store.read() as read:
        return next(e for e in ledger.of_subject(read, stand.rollout) if e.data.get("signal") == signal)


def test_a_harmful_candidate_meets_nobody_and_a_fine_one_goes_on(
    stand: Stand, adapters: tuple[Models, Manifest], launcher: Launcher
) -> None:
    fine, users = adapters[1], Users(stand.servers[0].url)
    assert min(judge(stand, users, fine)) >= BLOCKS
    stand.open_rollout()
    harmful, daemon = stand.candidate, stand.supervisor(launcher.launch).start()
    phase_reached(stand, users, Phase.DENIED)
    daemon.stop()
    found = signal_of(stand, "harm")
    assert found.reason == "shadow_harm"
    assert harmful not in {one.version for one in users.asked}
    assert all(route.split is None for _, file in stand.routes.seen for route in file.routes)
    with stand.store.read() as read:
        assert denials.is_denied(read, harmful)

    stand.open_rollout(fine, cycle="cycle-fine")
    daemon.start()
    phase_reached(stand, users, Phase.CANARY_SMALL)
    found = signal_of(stand, "proved")
    blocks, lost, mended = (found.data[f"shadow_{name}"] for name in ("blocks", "lost", "mended"))
    assert lost <= 1 and mended >= 0.75 * blocks >= 0.75 * BLOCKS
    wait_until(lambda: daemon.check() and users.ask().version == fine.version, 30.0, "a user to meet it")
    text = httpx.get(f"{stand.config.api.url}/metrics", trust_env=False).text
    assert 'homeostat_mirrored_requests_total{outcome="right",purpose="shadow"}' in text
    daemon.stop()
    users.close()
    assert all(x.version != harmful for _, x in checks.read_log(stand.home.folder / "log.db").exchanges)
