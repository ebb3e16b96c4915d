"""A deployment of real processes in one folder: built-in servers with gateways, a daemon, a candidate to roll out."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from adapters.base_shape import read_base_shape
from adapters.manifest import Manifest
from adapters.registry import Registry
from daemon.config import Config, load_config
from daemon.cycle import Phase as CyclePhase
from daemon.rollout_start import RolloutStart
from daemon.store import Store, cycles, rollouts, versions
from daemon.version_rows import row_of
from deploy.driver import Driver
from deploy.rollout import FINAL, Phase
from deploy.routes import RouteFile
from tests.deploy.serving import TOKEN, Home, Server, builtin_server
from tests.e2e.daemons import Launch, Supervisor
from tests.waiting import wait_until

CYCLE: Final = "cycle-e2e"
LEASE_S: Final = 3.0
ROLLOUT: Final[dict[str, Any]] = {
    "share_small": 0.3,
    "alpha": 0.001,  # the test's own chance of a wrong verdict, the sample-ratio alarm included
    "maturity_s": 1.0,
    "lateness_s": 1.0,
    "lease_s": LEASE_S,
    "deadline_s": 600.0,
    "probation_units": 40,
    "probation_s": 600.0,
    "soak_requests": 2,
}
"""Seconds where production has hours; everything else as it is."""


@dataclass(frozen=True)
class Models:
    """A base and a registered version of it, made once for all tests."""

    base: Path
    artifacts: Path
    candidate: Manifest


@dataclass
class RouteHistory:
    """Every route file that was in force, by a thread that looks at it all the time."""

    path: Path
    seen: list[tuple[float, RouteFile]] = field(default_factory=list[tuple[float, RouteFile]])

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="routes", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(2.0)

    def _run(self) -> None:
        stamp: tuple[int, int] | None = None
        while not self._stop.wait(0.003):
            try:
                status = self.path.stat()
                if (status.st_mtime_ns, status.st_ino) == stamp:
                    continue
                content = self.path.read_bytes()
            except FileNotFoundError:
                continue
            stamp = (status.st_mtime_ns, status.st_ino)
            self.seen.append((time.time(), RouteFile.model_validate_json(content)))


@dataclass
class Stand:
    """``start_servers``, ``open_rollout``, then a ``supervisor``; ``close`` ends whatever runs."""

    home: Home
    models: Models
    servers: Sequence[Server]
    config: Config
    config_file: Path
    store: Store
    routes: RouteHistory
    rolled: Manifest
    """The version that is rolled out, or was last."""
    rollout: str = ""
    supervisors: list[Supervisor] = field(default_factory=list[Supervisor])

    @classmethod
    def make(cls, folder: Path, models: Models, port: Callable[[], int], replicas: int, **rollout: object) -> Stand:
        """The folder with its files; nothing runs yet. ``rollout``: settings in place of those of ``ROLLOUT``."""
        home = Home(folder, models.base)
        shutil.copytree(models.artifacts, home.artifacts)
        servers = [builtin_server(home, f"replica-{n}", port()) for n in range(replicas)]
        text = {
            "mode": "auto",
            "home": str(folder),
            "deployment": {"base_dir": str(models.base)},
            "agent": {"replicas": [{"name": s.name, "url": s.url} for s in servers]},
            "api": {"port": port()},
            "trainer": {"kind": "none"},
            "learning": {"tick_s": 0.2},
            "join": {"window_s": 600.0, "lateness_s": 0.2, "idle_s": 0.5},
            "monitors": {"reference_size": 20_000},  # the watch stays with warming up: it is not under test
            "rollout": {**ROLLOUT, **rollout},
        }
        config_file = folder / "homeostat.yaml"
        config_file.write_text(yaml.safe_dump(text), encoding="utf-8")
        config = load_config(config_file)
        store = Store.open(config.store_url, config.store.synchronous)
        return cls(
            home, models, servers, config, config_file, store, RouteHistory(folder / "route.json"), models.candidate
        )

    @property
    def candidate(self) -> str:
        """The version that is rolled out."""
        return self.rolled.version

    @property
    def urls(self) -> dict[str, str]:
        """Replica to address."""
        return {s.name: s.url for s in self.servers}

    def start_servers(self) -> None:
        """All replicas, at once."""
        with ThreadPoolExecutor(len(self.servers)) as pool:
            for started in [pool.submit(server.start) for server in self.servers]:
                started.result()

    def supervisor(self, launch: Launch, failpoints: Callable[[], str] = lambda: "") -> Supervisor:
        """A daemon of this folder, not started yet."""
        made = Supervisor(self.config_file, self.home.folder / "daemon.log", launch, failpoints)
        self.supervisors.append(made)
        return made

    def open_rollout(self, candidate: Manifest | None = None, cycle: str = CYCLE) -> str:
        """What a cycle does when the gate passed, while the daemon is down; the rollout's id."""
        self.rolled = candidate or self.models.candidate
        registry, now = Registry(self.config.artifacts), time.time()
        training = self.config.training
        identity = registry.admit_identity(
            read_base_shape(self.models.base),
            deployment="support",
            tenant="default",
            rank=training.rank,
            alpha=training.alpha,
            targets=training.targets,
        )
        with self.store.begin() as tx:
            for manifest in (identity, self.rolled):
                versions.register(tx, row_of(manifest, registry, now))
            versions.set_gate(tx, self.candidate, {"verdict": "pass"}, passed=True)
            phase = CyclePhase.ROLLING.value
            row = cycles.create(
                tx,
                cycle=cycle,
                deployment="support",
                cause="manual",
                phase=phase,
                reason="gate_passed",
                data={},
                at=now,
            )
            self.rollout = RolloutStart(self.config, identity.version, lambda: None, time.time).start(
                tx, row, self.candidate
            )
            data = {"rollout": self.rollout, "version": self.candidate}
            cycles.update_phase(tx, cycle, phase=phase, reason="gate_passed", data=data, at=now)
        return self.rollout

    def phase(self) -> Phase:
        """Where the rollout is."""
        with self.store.read() as read:
            row = rollouts.get(read, self.rollout)
        assert row is not None
        return Phase(row.phase)

    def wait_for(self, *phases: Phase, deadline_s: float) -> Phase:
        """The first of these phases; fails at once when another final phase or the daemon's own end comes first."""

        def arrived() -> Phase | None:
            for supervisor in self.supervisors:
                supervisor.check()
            phase = self.phase()
            assert phase in phases or phase not in FINAL, f"the rollout ended {phase.value}, expected {phases}"
            return phase if phase in phases else None

        found = wait_until(arrived, deadline_s, f"the rollout to be {' or '.join(p.value for p in phases)}")
        assert found is not None
        return found

    def command(self, verb: str, **body: object) -> dict[str, Any]:
        """A command of the operator through the API."""
        token = (self.config.secrets / "operator.token").read_text(encoding="utf-8").strip()
        answer = httpx.post(
            f"{self.config.api.url}/api/v1/{verb}",
            json={"reason": "a test asks for it", **body},
            headers={"Authorization": f"Bearer {token}"},
            timeout=30.0,
            trust_env=False,
        )
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def gateway(self, server: Server) -> dict[str, Any]:
        """What a gateway says of itself."""
        driver = Driver(server.url, TOKEN)
        try:
            return driver.gateway()
        finally:
            driver.close()

    def close(self) -> None:
        """End every process and thread of it."""
        for supervisor in self.supervisors:
            if supervisor.running:
                supervisor.kill()
        for server in self.servers:
            if server.process is not None and server.process.poll() is None:
                server.kill()
        self.routes.close()
        self.store.close()
