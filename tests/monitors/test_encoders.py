"""An encoder behind the port: one suite for the n-grams and a small encoder, and what is said when one is missing."""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from daemon.fault_map import as_fault
from daemon.faults import ConfigError
from monitors.detectors.mewma import Mewma
from monitors.encoders import Encoder, EncoderUnusable, SentenceEncoder, encoder_of
from monitors.features import Features
from monitors.watch import Watch, WatchConfig
from tests.monitors.test_watch import OLD, feed
from tests.monitors.traffic import prompt


@dataclass(frozen=True)
class Letters:
    """Each word a fixed random direction, each text the sum of its words': small, and as good as a bag of words."""

    name: str = "letters"
    size: int = 48

    def encode(self, texts: Sequence[str]) -> NDArray[np.floating[Any]]:
        return np.array([self._one(text) for text in texts])

    def _one(self, text: str) -> NDArray[np.float64]:
        rows = [np.random.default_rng(crc32(word.encode())).normal(size=self.size) for word in text.split()]
        return np.sum(rows, axis=0) if rows else np.zeros(self.size)


ENCODERS = pytest.mark.parametrize("encoder", [None, Letters()], ids=["hashed", "letters"])


def texts(desks: str, count: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [prompt(rng.choice(desks), rng) for _ in range(count)]


@pytest.mark.slow
@ENCODERS
def test_features_are_white_restore_exactly_and_show_a_new_desk(encoder: Encoder | None) -> None:
    features, vectors = Features.fit(texts("abcd", 400, 1), encoder=encoder)
    assert vectors.shape == (400, features.size)
    assert np.abs(vectors.mean(axis=0)).max() < 0.1 and 0.5 < vectors.std() < 1.1
    again = Features.from_dict(json.loads(json.dumps(features.to_dict())), encoder)
    for text in ("", "?!", "wholly unknown words", *texts("az", 4, 2)):
        found = features.transform(text, math.nan)
        assert np.isfinite(found).all() and (found == again.transform(text, math.nan)).all()
    quiet, shifted = Mewma(features.size, 0.0), Mewma(features.size, 0.0)
    for old, new in zip(texts("abcd", 150, 3), texts("abcdzzzz", 150, 4), strict=True):
        quiet.update(features.transform(old))
        shifted.update(features.transform(new))
    assert shifted.statistic > 3.0 * quiet.statistic


@pytest.mark.slow
@ENCODERS
def test_a_watch_restores_and_finds_a_new_desk(encoder: Encoder | None) -> None:
    config = WatchConfig(reference_size=300, recent_size=500)
    watch = Watch(config, 3, encoder)
    assert not any(a.acts for a in feed(watch, OLD, 500, seed=1))
    again = Watch.load_parts(config, watch.dump_parts(), encoder)
    told = [a for a in feed(again, [*OLD, *["new"] * 4], 250, seed=2, first=500) if a.acts]
    assert told == [a for a in feed(watch, [*OLD, *["new"] * 4], 250, seed=2, first=500) if a.acts]
    assert len(told) == 1 and again.dump() == watch.dump()


@pytest.mark.slow
def test_another_encoder_takes_the_newest_prompts_as_its_reference() -> None:
    config = WatchConfig(reference_size=300, recent_size=500)
    watch = Watch(config, 3)
    feed(watch, OLD, 450, seed=1)
    other = Watch.load_parts(config, watch.dump_parts(), Letters())
    assert other.phase == "watching" and json.loads(other.dump_parts()["fitted"])["features"]["encoder"] == "letters"
    assert not any(a.acts for a in feed(other, OLD, 200, seed=4, first=450))
    with pytest.raises(ValueError, match="fit them anew"):
        Features.from_dict(json.loads(watch.dump_parts()["fitted"])["features"], Letters())


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    config = WatchConfig(encoder="sentence-transformers:/models/small")
    with pytest.raises(EncoderUnusable, match=r"needs sentence_transformers: install homeostat\[encoder\]") as told:
        Watch(config)
    assert isinstance(as_fault(told.value), ConfigError)


def test_a_missing_model_names_its_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_model(path: str, **_: object) -> None:
        raise OSError(f"{path} is not a local folder")

    library = ModuleType("sentence_transformers")
    library.__dict__["SentenceTransformer"] = no_model
    monkeypatch.setitem(sys.modules, "sentence_transformers", library)
    with pytest.raises(EncoderUnusable, match="no model at /models/none"):
        SentenceEncoder("/models/none")


def test_the_setting_is_checked_and_hashed_loads_nothing() -> None:
    assert encoder_of(WatchConfig().encoder) is None
    for wrong in ("", "hash", "sentence-transformers:", "bert:/x"):
        with pytest.raises(ValidationError):
            WatchConfig(encoder=wrong)
