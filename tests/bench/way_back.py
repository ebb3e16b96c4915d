"""How long the way back takes under load, and how long SIGTERM does: real servers, gateways and daemons.

``python -m tests.bench.way_back [runs]``; a run takes some twenty seconds. A rollback's clock runs from the command
to the last request that any gateway hands to the version it leaves (CONTRACTS: 250 ms).
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adapters.registry import Registry
from deploy.rollout import Phase
from tests.conftest import free_ports
from tests.deploy.versions import register
from tests.e2e.daemons import Launcher
from tests.e2e.stand import Models, Stand
from tests.e2e.traffic import Traffic
from tests.tiny_base import make_base
from tests.waiting import wait_until

RUNS: Final = 5
REPLICAS: Final = 2
SERVED_BEFORE: Final = 40
ROLLBACK_BAR_MS: Final = 250.0
STOP_BAR_S: Final = 5.0


@dataclass(frozen=True)
class Run:
    """One rollback and one stop. Milliseconds and seconds; ``failed`` of ``requests``."""

    acknowledged_ms: float
    last_dispatch_ms: float
    stop_s: float
    requests: int
    failed: int


def measure(folder: Path, models: Models, port: Callable[[], int], launcher: Launcher) -> Run:
    """Promote a version on two replicas under traffic, go back from it, stop the daemon under traffic."""
    stand = Stand.make(folder, models, port, REPLICAS)
    try:
        stand.start_servers()
        stand.open_rollout()
        daemon = stand.supervisor(launcher.launch)
        with Traffic(stand.urls, {"canary": 0.8, "control": 0.8}) as traffic:
            daemon.start()
            stand.wait_for(Phase.CANARY_SMALL, Phase.CANARY_HALF, deadline_s=120.0)
            stand.command("promote")
            stand.command("promote")
            promoted = time.time()

            def served() -> bool:
                return sum(r.version == stand.candidate for r in traffic.since(promoted)) >= SERVED_BEFORE

            wait_until(served, 60.0, "the promoted version to serve")
            began = time.time()
            answer = stand.command("rollback")
            returned = time.time()
            wait_until(lambda: len(traffic.since(returned)) >= SERVED_BEFORE, 60.0, "traffic after the rollback")
            last = [stand.gateway(s)["versions"][stand.candidate]["last_dispatch"] for s in stand.servers]
            stopping = time.monotonic()
            daemon.stop()
            stopped_s = time.monotonic() - stopping
        return Run(
            acknowledged_ms=1e3 * (answer["acked_at"] - began),
            last_dispatch_ms=1e3 * max(0.0, max(last) - began),
            stop_s=stopped_s,
            requests=len(traffic.replies),
            failed=len(traffic.failures),
        )
    finally:
        stand.close()


def main() -> None:
    """Print the table; exit status 1 when a bar is missed."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    launcher, port = Launcher(), free_ports()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        base = make_base(root / "base")
        models = Models(base, root / "artifacts", register(Registry(root / "artifacts"), base, seed=1))
        found = [measure(root / f"run-{n}", models, port, launcher) for n in range(runs)]
    launcher.close()
    worst_ms, worst_s = max(r.last_dispatch_ms for r in found), max(r.stop_s for r in found)
    failed, requests = sum(r.failed for r in found), sum(r.requests for r in found)
    middle = statistics.median(r.acknowledged_ms for r in found)
    print(f"{runs} rollbacks on {REPLICAS} replicas: acknowledged by all gateways after {middle:.0f} ms (median)")
    print(f"last request to the old version: {worst_ms:.0f} ms after the command at worst (bar {ROLLBACK_BAR_MS:.0f})")
    print(f"failed requests: {failed} of {requests} (bar 0)")
    print(f"SIGTERM under traffic: ended after {worst_s:.2f} s at worst (bar {STOP_BAR_S:.0f})")
    sys.exit(worst_ms > ROLLBACK_BAR_MS or failed > 0 or worst_s > STOP_BAR_S)


if __name__ == "__main__":
    main()
