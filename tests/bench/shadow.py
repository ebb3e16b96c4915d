"""How soon, and how wrongly, the shadow decides: python -m tests.bench.shadow [--runs N]

A block is one confirmed and one corrected exchange, so two mirrored requests. A replier's loss is on replies that the
champion gets right with chance .8; ``mended`` is the share of its wrong replies that the candidate gets right. Beside
it stand the units of a canary at a share of 10 % until the combined harm evidence rolls back (bench decisions).
"""

from __future__ import annotations

import argparse
import math

import numpy as np

from deploy.rollout_config import RolloutConfig
from deploy.shadow_config import ShadowConfig
from monitors.many import Floats, ManyDraws
from monitors.owner import OwnerSpec

RIGHT = 0.8
LONGEST = 2000
CELLS = (
    # name, (lost, mended), canary units
    ("equal, deterministic and nested", (0.0, 0.0), None),
    ("equal, independent", (1.0 - RIGHT, RIGHT), None),
    ("equal, independent, champion right half of the time", (0.5, 0.5), None),
    ("-5 pp, nothing mended", (0.05 / RIGHT, 0.0), 8440),
    ("-10 pp, nothing mended", (0.10 / RIGHT, 0.0), 2014),
    ("-20 pp, nothing mended", (0.20 / RIGHT, 0.0), 585),
    ("-20 pp, a tenth mended", ((0.20 + 0.1 * (1.0 - RIGHT)) / RIGHT, 0.1), 585),
    ("-20 pp, a quarter mended", ((0.20 + 0.25 * (1.0 - RIGHT)) / RIGHT, 0.25), 585),
)


def blocks_to_harm(lost: float, mended: float, runs: int, bound: float, rng: np.random.Generator) -> Floats:
    """Blocks until harm in each run; inf where it does not come within ``LONGEST``."""
    draws = ManyDraws.owners(runs, OwnerSpec(1.0))
    at: Floats = np.full(runs, np.inf)
    half: Floats = np.full(runs, 0.5)
    for block in range(1, LONGEST + 1):
        loses, mends = rng.random(runs) < lost, rng.random(runs) < mended
        draws.update(loses, half, loses != mends)
        at = np.where(np.isinf(at) & (draws.log_e() >= bound), float(block), at)
    return at


def main(runs: int) -> None:
    """Print the table."""
    config, rng = RolloutConfig(shadow=ShadowConfig(share=1.0)), np.random.default_rng(5)
    bound = math.log(config.shadow_threshold)
    print(f"champion right {RIGHT:.0%}, e-value {config.shadow_threshold:g}, {runs} runs, at most {LONGEST} blocks")
    print(f"{'candidate':52} {'found':>6} {'median blocks':>13} {'p90':>6} {'requests':>9} {'canary units':>13}")
    for name, (lost, mended), units in CELLS:
        at = blocks_to_harm(lost, mended, runs, bound, rng)
        median, late = float(np.median(at)), float(np.quantile(at, 0.9, method="higher"))
        print(
            f"{name:52} {np.isfinite(at).mean():6.1%} {median:13.0f} {late:6.0f} {2 * median:9.0f} {units or '–':>13}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    main(parser.parse_args().runs)
