"""Texts of the streams: CLINC150 and banking77 where a folder holds them, and streams drawn from pools."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

USUAL = ("work", "utility", "home", "travel", "meta")
"""Domains of CLINC150 that are the normal traffic; the others are new."""


@dataclass(frozen=True)
class Pools:
    """Distinct texts by where they come from."""

    reference: Sequence[str]
    live: Sequence[str]
    """Of the same domains as the reference."""
    new: dict[str, Sequence[str]]
    """Other domains, questions out of scope, another data set."""


def read_pools(folder: Path, reference_size: int, seed: int) -> Pools | None:
    """The pools, or None where the folder lacks the files (``clinc150/data_full.json`` and so on)."""
    clinc, bank = folder / "clinc150", folder / "banking77" / "train.csv"
    if not ((clinc / "data_full.json").is_file() and (clinc / "domains.json").is_file() and bank.is_file()):
        return None
    data = json.loads((clinc / "data_full.json").read_text())
    domains = json.loads((clinc / "domains.json").read_text())
    of = {intent: domain for domain, intents in domains.items() for intent in intents}
    scoped = [(text, of[intent]) for part in ("train", "val", "test") for text, intent in data[part]]
    usual = [text for text, domain in scoped if domain in USUAL]
    random.Random(seed).shuffle(usual)
    outside = [text for part in ("oos_train", "oos_val", "oos_test") for text, _ in data[part]]
    with bank.open(newline="") as file:
        banking = [row["text"] for row in csv.DictReader(file)]
    others = [text for text, domain in scoped if domain not in USUAL]
    new: dict[str, Sequence[str]] = {"new domains": others, "out-of-scope": outside, "banking77": banking}
    return Pools(usual[:reference_size], usual[reference_size:], new)


def stream(live: Sequence[str], new: Sequence[str], share: float, onset: int, length: int, seed: int) -> list[str]:
    """``length`` texts; from ``onset`` on each is a new one with probability ``share``."""
    rng = random.Random(seed)
    found: list[str] = []
    for index in range(length):
        strange = index >= onset and rng.random() < share
        found.append(rng.choice(new) if strange else rng.choice(live))
    return found
