"""How soon, and how wrongly, a new desk is noticed: python -m tests.bench.drift [seeds]

Runs the whole watch on made-up desks: quiet traffic, then a desk never seen takes a share of it. Prints false alarms,
delay in exchanges from the onset to the confirmed alarm, the slice's reach at buffer time, and the cost of an exchange.
"""

from __future__ import annotations

import math
import random
import sys
import time
from statistics import median

from monitors.watch import Watch, WatchConfig
from tests.monitors.traffic import exchange, prompt, traffic

OLD = [f"desk{i}" for i in range(8)]
QUIET, AFTER = 2500, 1500


def run(seed: int, share: float) -> tuple[int, float, float, float, float]:
    """False alarms, delay, slice recall, slice false share, microseconds per quiet exchange after the fit."""
    config = WatchConfig()
    watch = Watch(config, seed)
    false, begun = 0, 0.0
    for number, event in enumerate(traffic(OLD, QUIET, seed)):
        if number == QUIET - 500:
            begun = time.perf_counter()
        false += sum(alarm.acts for alarm in watch.observe_exchange(event))
    cost = (time.perf_counter() - begun) / 500 * 1e6
    weight = round(share * len(OLD) / (1.0 - share))
    delay = math.inf
    for number, event in enumerate(traffic([*OLD, *["new"] * weight], AFTER, seed + 1000, QUIET)):
        if any(alarm.acts for alarm in watch.observe_exchange(event)) and math.isinf(delay):
            delay = number + 1
    found = watch.slice_now()
    rng = random.Random(seed)
    inside = [bool(found) and found.contains(prompt("new", rng)) for _ in range(300)] if found else [False]
    outside = [found.contains(prompt(rng.choice(OLD), rng)) for _ in range(300)] if found else [False]
    return false, delay, sum(inside) / len(inside), sum(outside) / len(outside), cost


def state_size() -> str:
    """Bytes of each stored part after a quiet period."""
    watch = Watch(WatchConfig(), 0)
    for index, event in enumerate(traffic(OLD, QUIET, 0)):
        watch.observe_exchange(event.model_copy(update={"exchange_id": f"y{index}"}))
    watch.observe_exchange(exchange(QUIET, "hello there", "s", "u"))
    parts = watch.dump_parts()
    recent = sum(len(blob) for name, blob in parts.items() if name.startswith("recent"))
    return f"state: fitted {len(parts['fitted']):,} B, moving {len(parts['moving']):,} B, recent prompts {recent:,} B"


def main(seeds: int) -> None:
    print(f"{'share':>6} {'false':>6} {'median':>7} {'worst':>6} {'missed':>7} {'recall':>7} {'outside':>8} {'us':>5}")
    for share in (0.5, 0.3, 0.1):
        rows = [run(seed, share) for seed in range(seeds)]
        false, delays, recall, outside, cost = (list(column) for column in zip(*rows, strict=True))
        finite = [d for d in delays if math.isfinite(d)]
        print(
            f"{share:6.2f} {sum(false):6} {median(delays):7.0f} {max(finite, default=math.nan):6.0f}"
            f" {len(delays) - len(finite):7} {min(recall):7.2f} {max(outside):8.3f} {median(cost):5.0f}",
            flush=True,
        )
    print(state_size())


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
