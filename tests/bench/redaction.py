"""Whether hostile text costs linear time: ten times the length may cost ten times the CPU, with room for noise.

``python -m tests.bench.redaction``; one line a piece that was once quadratic or could be, exit status 1 on a miss.
"""

from __future__ import annotations

import sys
import time
from typing import Final

from streams.redact import redact

PIECES: Final = (
    *("1", "1 ", "+1 ", "a@", "a.", "0:", "AB12 ", "-----BEGIN ", "eyJaaaaaaaa.", "(1)", "1.1.", "4 5 ", "AB12 1 "),
    *("My card is lost. ", "Call +49 170 1234567 or write to a.b@example.org. "),
)
LENGTH: Final = 20_000
TIMES: Final = 10
BAR: Final = 15.0
"""Ratio of the two costs; quadratic text would show 100."""


def cpu_ms(piece: str, length: int) -> float:
    """Milliseconds of CPU for a text of that many characters, best of three."""
    text = piece * (length // len(piece))
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        redact(text)
        best = min(best, time.process_time() - began)
    return 1e3 * best


def main() -> None:
    """Print the table."""
    missed = False
    print(f"{'piece':<52} {LENGTH:>9,} {LENGTH * TIMES:>9,} ratio (bar {BAR:.0f})")
    for piece in PIECES:
        short, long = cpu_ms(piece, LENGTH), cpu_ms(piece, LENGTH * TIMES)
        missed |= long > BAR * short
        print(f"{piece!r:<52} {short:>6.1f} ms {long:>6.1f} ms {long / short:>5.1f}")
    sys.exit(missed)


if __name__ == "__main__":
    main()
