"""An alarm and a request for labels, for tests of either."""

from __future__ import annotations

from daemon.label_requests import LabelRequest
from daemon.store import alarms
from monitors.alarms import SliceModel
from monitors.grams import hashed

OPEN = LabelRequest("labels-1", "a1", None, "training", 10, 100.0, 200.0, None)
NOW = 5000.0


def slice_about(word: str) -> SliceModel:
    return SliceModel(buckets=1024, weights=dict.fromkeys(hashed(word, 1024), 1.0), bias=0.0, threshold=0.5)


def alarm(at: float, *, kind: str = "input", about: SliceModel | None = None) -> alarms.AlarmRow:
    body = {"evidence": {}, "slice": None if about is None else about.model_dump(mode="json")}
    return alarms.AlarmRow("a1", "support", kind, "classifier_bet", True, True, at, body)
