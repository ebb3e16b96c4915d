"""Events that cannot be used: why, and what is kept of them."""

from __future__ import annotations

import base64
from enum import StrEnum
from typing import Final

from streams.events import DeadLetter
from streams.log import Record
from streams.redact import redact

MAX_PAYLOAD_BYTES: Final = 64 * 1024
MAX_DETAIL: Final = 300


class Reason(StrEnum):
    """Why an event could not be used: one closed set, so that it can label a metric."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_CLOUDEVENT = "not_cloudevent"
    UNKNOWN_TYPE = "unknown_type"
    WRONG_SCHEMA_VERSION = "wrong_schema_version"
    INVALID_DATA = "invalid_data"
    ID_MISMATCH = "id_mismatch"
    FUTURE_TIME = "future_time"
    FOREIGN = "foreign"
    ORPHAN = "orphan"
    WRONG_TENANT = "wrong_tenant"
    SESSION_MISMATCH = "session_mismatch"
    CHOICE_NOT_CAPTURED = "choice_not_captured"
    PENDING_FULL = "pending_full"
    PROCESSING_FAILED = "processing_failed"


def payload(value: bytes) -> str:
    """What is kept of an event's bytes: the first 64 KiB, redacted, as base64.

    Latin-1 maps every byte to one character and back, so bytes that are no UTF-8 survive the redaction unchanged.
    """
    text = value[:MAX_PAYLOAD_BYTES].decode("latin-1")
    cleaned = redact(text).text.encode("latin-1")
    return base64.b64encode(cleaned[:MAX_PAYLOAD_BYTES]).decode("ascii")


def dead_letter(record: Record, reason: Reason, detail: str, at: float) -> DeadLetter:
    """The dead letter of a record. ``detail`` says what was expected and what came, never user text; cut to 300."""
    return DeadLetter(
        reason=reason.value,
        detail=detail[:MAX_DETAIL],
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        payload_b64=payload(record.value),
        at=at,
    )
