"""What the shell costs: help of the command line, storing events."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from daemon.store import Store, exchanges, feedback, offsets
from tests.daemon import events

HELP_RUNS = 11
EVENTS = 20_000
BATCH = 500
HELP_BAR_MS = 300.0


def help_ms() -> float:
    """Median milliseconds of ``homeostat --help``, interpreter start included."""
    times: list[float] = []
    for _ in range(HELP_RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "daemon.cli.main", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append((time.perf_counter() - began) * 1e3)
    return statistics.median(times)


def stored_per_cpu_second(folder: Path) -> float:
    """Exchanges and feedback stored, one each, with their offset, per CPU second; synced at every batch."""
    store = Store.open(f"sqlite:///{folder}/store.db")
    pairs = [(events.exchange(n), events.feedback(n, f"x{n}")) for n in range(EVENTS // 2)]
    began = time.process_time()
    for start in range(0, len(pairs), BATCH // 2):
        batch = pairs[start : start + BATCH // 2]
        with store.begin() as tx:
            exchanges.insert_new(tx, [exchange for exchange, _ in batch])
            feedback.insert_new(tx, [said for _, said in batch])
            offsets.put(tx, {("traffic", 0): start + len(batch)})
    spent = time.process_time() - began
    store.close()
    return EVENTS / spent


def main() -> None:
    """Print the figures; exit status 1 when help is slower than its bar."""
    median = help_ms()
    print(f"homeostat --help: median {median:.0f} ms of {HELP_RUNS} (bar {HELP_BAR_MS:.0f} ms)")
    with tempfile.TemporaryDirectory() as folder:
        stored = stored_per_cpu_second(Path(folder))
    print(f"store, synchronous full, batches of {BATCH}: {stored:,.0f} events per CPU second")
    sys.exit(median > HELP_BAR_MS)


if __name__ == "__main__":
    main()
