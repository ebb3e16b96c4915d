"""Events to bytes and back: CloudEvents 1.0, structured JSON mode, with typed ``data``.

Decoding is pure and never raises on bad input: what cannot be used comes back as a dead letter with one of
``dead_letters.Reason``. The good path is one validating parse in Rust; only a bad event is looked at again to name what
is wrong. Unknown CloudEvents extension attributes are allowed, as the specification asks; unknown fields of ``data``
are not, because the producer meant something by them that we would lose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NamedTuple, cast

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from streams import wire_names
from streams.config import DecodeLimits
from streams.dead_letters import Reason, dead_letter
from streams.events import SCHEMA_VERSION, DeadLetter, Exchange, Feedback, Sampling
from streams.log import Record

EXCHANGE_TYPE: Final = "homeostat.exchange"
FEEDBACK_TYPE: Final = "homeostat.feedback"
DEAD_LETTER_TYPE: Final = "homeostat.dead_letter"
MAX_ID: Final = 256
"""Characters of an id, a session key or an identity; longer ones are somebody's mistake or attack."""

_YEAR_9999: Final = 253_370_764_800


class Origin(NamedTuple):
    """Where on the log an event lies."""

    topic: str
    partition: int
    offset: int


class Decoded(NamedTuple):
    """A usable event. Dedupe on (source, event_id)."""

    event_id: str
    source: str
    event: Exchange | Feedback
    origin: Origin
    appended_at: float
    """The log's time of the event, wall-clock seconds."""
    token: str | None = None
    """The feedback token as the gateway received it, so that the daemon can verify it again."""


def encode_exchange(exchange: Exchange, source: str) -> bytes:
    """The exchange as a CloudEvent; ``source`` is the URI reference of the gateway that captured it."""
    return _envelope(
        EXCHANGE_TYPE, exchange.exchange_id, source, exchange.session, exchange.completed_at,
        _data(exchange, wire_names.exchange_name),
    )  # fmt: skip


def encode_feedback(feedback: Feedback, source: str, token: str | None = None) -> bytes:
    """The feedback as a CloudEvent; ``token`` rides along as an extension attribute, to be verified again."""
    return _envelope(
        FEEDBACK_TYPE, feedback.feedback_id, source, feedback.session, feedback.sent_at,
        _data(feedback, wire_names.feedback_name), token,
    )  # fmt: skip


def encode_dead_letter(letter: DeadLetter, source: str) -> bytes:
    """The dead letter as a CloudEvent, its id made of where the bad event lies: writing it twice gives the same id."""
    event_id = f"{letter.topic}/{letter.partition}/{letter.offset}"
    return _envelope(DEAD_LETTER_TYPE, event_id, source, None, letter.at, _data(letter, str))


def _data(event: BaseModel, wire_name: Callable[[str], str]) -> dict[str, Any]:
    # Absent and null mean the same here, and most optional fields are absent.
    return {wire_name(name): value for name, value in event.__dict__.items() if value is not None}


def _plain(value: object) -> Any:
    if isinstance(value, Sampling):
        return {name: getattr(value, name) for name in value.model_fields_set}
    if isinstance(value, BaseModel):
        return value.__dict__
    raise TypeError(f"no JSON for {type(value).__name__}")


def _envelope(
    kind: str,
    event_id: str,
    source: str,
    subject: str | None,
    at: float,
    data: dict[str, Any],
    token: str | None = None,
) -> bytes:
    envelope: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": kind,
        "datacontenttype": "application/json",
        "homeostatschema": SCHEMA_VERSION,
        "data": data,
    }
    if 0 <= at < _YEAR_9999:  # a broken producer's append time may be anything; the attribute is optional
        envelope["time"] = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    if subject is not None:
        envelope["subject"] = subject
    if token is not None:
        envelope["homeostattoken"] = token
    try:
        return orjson.dumps(envelope, default=_plain)
    except orjson.JSONEncodeError:
        # JSON text may escape half a surrogate pair, which is no Unicode text and has no UTF-8.
        return orjson.dumps(_replace_surrogates(envelope))


def _replace_surrogates(value: object) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, BaseModel):
        return _replace_surrogates(value.__dict__)
    if isinstance(value, dict):
        return {key: _replace_surrogates(item) for key, item in cast("dict[str, object]", value).items()}
    if isinstance(value, (list, tuple)):
        return [_replace_surrogates(item) for item in cast("list[object]", value)]
    return value


class WireExchange(Exchange):
    """``Exchange`` under its wire names; only the parser and the published schema see this class."""

    model_config = ConfigDict(alias_generator=wire_names.exchange_name)


class WireFeedback(Feedback):
    """``Feedback`` under its wire names; only the parser and the published schema see this class."""

    model_config = ConfigDict(alias_generator=wire_names.feedback_name)


class WireEnvelope(BaseModel):
    """The CloudEvents attributes that we read."""

    model_config = ConfigDict(extra="ignore", strict=True)

    specversion: Literal["1.0"]
    id: Annotated[str, Field(min_length=1, max_length=MAX_ID)]
    source: Annotated[str, Field(min_length=1, max_length=1024)]
    homeostatschema: Literal["1"]
    homeostattoken: Annotated[str | None, Field(max_length=4096)] = None


class ExchangeEnvelope(WireEnvelope):
    """An exchange on the wire."""

    type: Literal["homeostat.exchange"]
    data: WireExchange


class FeedbackEnvelope(WireEnvelope):
    """A feedback on the wire."""

    type: Literal["homeostat.feedback"]
    data: WireFeedback


ENVELOPE: Final = TypeAdapter[ExchangeEnvelope | FeedbackEnvelope](
    Annotated[ExchangeEnvelope | FeedbackEnvelope, Field(discriminator="type")]
)

_validate: Final = ENVELOPE.validate_json
_DEFAULT_LIMITS: Final = DecodeLimits()


def decode(record: Record, limits: DecodeLimits = _DEFAULT_LIMITS) -> Decoded | DeadLetter:
    """The event in a record, or the dead letter that says why there is none. Pure; raises nothing for bad input."""
    value = record.value
    if len(value) > limits.max_bytes:
        detail = f"at most {limits.max_bytes} bytes expected, got {len(value)}"
        return dead_letter(record, Reason.TOO_LARGE, detail, record.timestamp)
    try:
        envelope = _validate(value, strict=True)
    except ValidationError as error:
        reason, detail = _diagnose(value, error)
        return dead_letter(record, reason, detail, record.timestamp)
    wire = envelope.data
    if isinstance(wire, Exchange):
        # Same fields, same layout: only the aliases differ. Rebuilding the object would double the cost of decoding.
        object.__setattr__(wire, "__class__", Exchange)
        problem = _exchange_problem(wire, envelope.id, record, limits)
    else:
        object.__setattr__(wire, "__class__", Feedback)
        problem = _feedback_problem(wire, envelope.id, record, limits)
    if problem is not None:
        return dead_letter(record, problem[0], problem[1], record.timestamp)
    return Decoded(
        event_id=envelope.id,
        source=envelope.source,
        event=wire,
        origin=Origin(record.topic, record.partition, record.offset),
        appended_at=record.timestamp,
        token=envelope.homeostattoken,
    )


_Problem = tuple[Reason, str] | None


def _exchange_problem(event: Exchange, event_id: str, record: Record, limits: DecodeLimits) -> _Problem:
    if event.exchange_id != event_id:
        return Reason.ID_MISMATCH, "data.exchange_id must equal the envelope's id"
    times = (event.received_at, event.dispatched_at, event.completed_at)
    if not all(map(math.isfinite, times)) or min(times) <= 0:
        return Reason.INVALID_DATA, "received_at, dispatched_at, completed_at: seconds since the epoch expected"
    if event.propensity is not None and not 0.0 <= event.propensity <= 1.0:
        return Reason.INVALID_DATA, "propensity: a probability expected"
    if event.surprisal is not None and not math.isfinite(event.surprisal):
        return Reason.INVALID_DATA, "surprisal: a finite number expected"
    if _bad_key(event.session) or _bad_key(event.identity):
        return Reason.INVALID_DATA, f"session and identity: 1 to {MAX_ID} characters expected"
    return _place_and_time(event.deployment, event.tenant, max(times), record, limits)


def _feedback_problem(event: Feedback, event_id: str, record: Record, limits: DecodeLimits) -> _Problem:
    if event.feedback_id != event_id:
        return Reason.ID_MISMATCH, "data.feedback_id must equal the envelope's id"
    if not math.isfinite(event.sent_at) or event.sent_at <= 0:
        return Reason.INVALID_DATA, "sent_at: seconds since the epoch expected"
    if _bad_key(event.exchange_id):
        return Reason.INVALID_DATA, f"exchange_id: 1 to {MAX_ID} characters expected"
    if (event.session is not None and _bad_key(event.session)) or (
        event.identity is not None and _bad_key(event.identity)
    ):
        return Reason.INVALID_DATA, f"session and identity: 1 to {MAX_ID} characters expected"
    shape = feedback_shape_problem(event)
    if shape is not None:
        return Reason.INVALID_DATA, shape
    return _place_and_time(event.deployment, event.tenant, event.sent_at, record, limits)


_OUTCOMES: Final = ("accepted", "retried", "escalated")


def feedback_shape_problem(event: Feedback) -> str | None:
    """Why ``value`` or ``correction`` does not fit the kind, naming the field; None when it fits."""
    value = event.value
    match event.kind.value:
        case "thumb":
            return None if isinstance(value, bool) else "value: a thumb is true or false"
        case "rating":
            if isinstance(value, bool) or not isinstance(value, float) or not math.isfinite(value):
                return "value: a rating is a number"
            if not (math.isfinite(event.rating_min) and math.isfinite(event.rating_max)):
                return "rating_min, rating_max: finite numbers expected"
            if not event.rating_min < event.rating_max:
                return "rating_min: must be below rating_max"
            return (
                None
                if event.rating_min <= value <= event.rating_max
                else "value: between rating_min and rating_max expected"
            )
        case "outcome":
            return None if value in _OUTCOMES else f"value: an outcome is one of {', '.join(_OUTCOMES)}"
        case "correction":
            return None if event.correction is not None else "correction: the right text is missing"
        case _:
            return None if isinstance(value, str) else "value: a preference is the chosen text"


def _bad_key(key: str) -> bool:
    return not 0 < len(key) <= MAX_ID


def _place_and_time(deployment: str, tenant: str, at: float, record: Record, limits: DecodeLimits) -> _Problem:
    if at > record.timestamp + limits.max_ahead_s:
        ahead = at - record.timestamp
        return Reason.FUTURE_TIME, f"{ahead:.0f} s after its append time, at most {limits.max_ahead_s:g} s expected"
    if limits.deployments is not None:
        if deployment not in limits.deployments:
            return Reason.FOREIGN, "deployment is none of ours"
        if limits.deployments[deployment] != tenant:
            return Reason.WRONG_TENANT, "tenant is not that of the deployment"
    return None


def _diagnose(value: bytes, error: ValidationError) -> tuple[Reason, str]:
    """Name what is wrong with bytes that did not validate. The details name fields and rules, never user text."""
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as cause:
        return Reason.NOT_UTF8, f"UTF-8 expected, byte {cause.start} is none"
    try:
        parsed: object = orjson.loads(value)
    except orjson.JSONDecodeError as cause:
        return Reason.NOT_JSON, f"JSON expected, it breaks at character {cause.pos}"
    if not isinstance(parsed, dict):
        return Reason.NOT_CLOUDEVENT, f"a JSON object expected, got {type(parsed).__name__}"
    envelope = cast("dict[str, object]", parsed)
    if envelope.get("specversion") != "1.0":
        return Reason.NOT_CLOUDEVENT, "specversion 1.0 expected"
    if envelope.get("type") not in (EXCHANGE_TYPE, FEEDBACK_TYPE):
        return Reason.UNKNOWN_TYPE, f"type {EXCHANGE_TYPE} or {FEEDBACK_TYPE} expected"
    if envelope.get("homeostatschema") != SCHEMA_VERSION:
        return Reason.WRONG_SCHEMA_VERSION, f"homeostatschema {SCHEMA_VERSION!r} expected"
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    # Unknown keys are the producer's words and could be anything: the path is kept only as far as we named it.
    path = ".".join(str(part) for part in first["loc"][1:]) if first["type"] != "extra_forbidden" else "data"
    in_data = len(first["loc"]) > 1 and first["loc"][1] == "data"
    return (Reason.INVALID_DATA if in_data else Reason.NOT_CLOUDEVENT), f"{path}: {first['msg']}"
