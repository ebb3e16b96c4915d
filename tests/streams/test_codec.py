"""Good events come back equal; every kind of bad one becomes a dead letter with its reason, and nothing raises."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.codec import Decoded, Origin, decode, encode_dead_letter, encode_exchange, encode_feedback
from streams.config import DecodeLimits
from streams.dead_letters import Reason, dead_letter
from streams.events import Attempt, DeadLetter, Exchange, Feedback, FeedbackKind, Message, Sampling, Trust
from streams.wire_names import EXCHANGE, FEEDBACK
from tests.streams.events import T0, exchange, feedback, record, wire

FULL = exchange(
    client_request_id="r-1",
    session_derived=True,
    messages=(Message(role="system", content="Be brief."), Message(role="user", content="Ünïcode \u2028 \U0001f600")),
    finish_reason="stop",
    sampling=Sampling(temperature=0.7, top_k=40, seed=5, max_tokens=64, stops=True),
    rollout="r1",
    arm="canary",
    propensity=0.1,
    route_epoch=7,
    first_token_s=0.05,
    attempts=(Attempt(version="support-0123456789ab", status=500), Attempt(version="support-base", status=200)),
    streamed=True,
    prompt_tokens=12,
    completion_tokens=6,
    completion_token_ids=(1, 2, 3),
    surprisal=1.25,
)


def reason(result: Decoded | DeadLetter) -> str:
    assert isinstance(result, DeadLetter), f"a dead letter expected, got {result}"
    return result.reason


@pytest.mark.parametrize("event", [exchange(), exchange(sampling=Sampling()), FULL])
def test_an_exchange_survives_the_wire(event: Exchange) -> None:
    decoded = decode(wire(event))
    assert isinstance(decoded, Decoded)
    assert decoded.event == event
    assert type(decoded.event) is Exchange
    assert decoded.event.latency_s == 0.5
    assert (decoded.event_id, decoded.source, decoded.origin) == ("x1", "/gateway/a", Origin("t", 0, 0))


@pytest.mark.parametrize(
    "event",
    [
        feedback(),
        feedback(kind=FeedbackKind.RATING, value=4.0),
        feedback(kind=FeedbackKind.CORRECTION, value=None, correction="Cards are under settings."),
        feedback(kind=FeedbackKind.PREFERENCE, value="the other text", comment="nicer"),
        feedback(kind=FeedbackKind.OUTCOME, value="escalated", trust=Trust.PRODUCER, session=None, identity=None),
    ],
)
def test_feedback_survives_the_wire(event: Feedback) -> None:
    decoded = decode(wire(event))
    assert isinstance(decoded, Decoded)
    assert decoded.event == event
    assert type(decoded.event) is Feedback
    assert type(decoded.event.value) is type(event.value)


def test_the_token_rides_along_outside_the_data() -> None:
    decoded = decode(record(encode_feedback(feedback(), "/g", token="abc.def")))
    assert isinstance(decoded, Decoded) and decoded.token == "abc.def"
    plain = decode(wire(feedback()))
    assert isinstance(plain, Decoded) and plain.token is None


def test_the_envelope_is_a_cloudevent_with_conventional_names() -> None:
    envelope = orjson.loads(encode_exchange(FULL, "/gateway/a"))
    assert envelope["specversion"] == "1.0"
    assert (envelope["id"], envelope["source"], envelope["subject"]) == ("x1", "/gateway/a", "s1")
    assert envelope["type"] == "homeostat.exchange"
    assert envelope["time"] == "2027-01-15T08:00:00.000+00:00"
    assert envelope["data"]["gen_ai.conversation.id"] == "s1"
    assert envelope["data"]["gen_ai.usage.output_tokens"] == 6
    assert orjson.loads(encode_feedback(feedback(), "/g"))["data"]["gen_ai.evaluation.score.value"] is True


def test_of_the_sampling_only_what_was_said_is_on_the_wire() -> None:
    said = orjson.loads(wire(exchange(sampling=Sampling(temperature=0.0, seed=0))).value)["data"]["sampling"]
    assert said == {"temperature": 0.0, "seed": 0}


def test_wire_names_name_fields_that_exist() -> None:
    assert set(EXCHANGE) <= set(Exchange.model_fields)
    assert set(FEEDBACK) <= set(Feedback.model_fields)
    assert len(set(EXCHANGE.values())) == len(EXCHANGE)


def test_half_a_surrogate_pair_is_replaced_not_raised() -> None:
    event = exchange(completion="half \ud83d", messages=(Message(role="user", content="\udc00 x"),))
    decoded = decode(wire(event))
    assert isinstance(decoded, Decoded) and isinstance(decoded.event, Exchange)
    assert decoded.event.completion == "half ?" and decoded.event.prompt == "? x"


def changed(event: Exchange | Feedback, path: str, value: Any) -> bytes:
    """The event's bytes with one thing changed; ``...`` removes it."""
    envelope = orjson.loads(wire(event).value)
    *outer, last = path.split("/")
    target = envelope
    for part in outer:
        target = target[part]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return orjson.dumps(envelope)


SCORE = "data/gen_ai.evaluation.score.value"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", Reason.NOT_JSON),
        (b"{", Reason.NOT_JSON),
        (b'{"specversion": "1.0",}', Reason.NOT_JSON),
        (b"[" * 100_000, Reason.NOT_JSON),
        (b"\xff\xfe{}", Reason.NOT_UTF8),
        (encode_exchange(exchange(), "/g").replace(b"card", b"c\xe9rd"), Reason.NOT_UTF8),
        (b"null", Reason.NOT_CLOUDEVENT),
        (b"[1, 2]", Reason.NOT_CLOUDEVENT),
        (b"{}", Reason.NOT_CLOUDEVENT),
        (changed(exchange(), "specversion", "0.3"), Reason.NOT_CLOUDEVENT),
        (changed(exchange(), "id", ...), Reason.NOT_CLOUDEVENT),
        (changed(exchange(), "id", 5), Reason.NOT_CLOUDEVENT),
        (changed(exchange(), "source", ""), Reason.NOT_CLOUDEVENT),
        (changed(exchange(), "type", "com.example.order"), Reason.UNKNOWN_TYPE),
        (changed(exchange(), "type", ["homeostat.exchange"]), Reason.UNKNOWN_TYPE),
        (changed(exchange(), "homeostatschema", "2"), Reason.WRONG_SCHEMA_VERSION),
        (changed(exchange(), "homeostatschema", ...), Reason.WRONG_SCHEMA_VERSION),
        (changed(exchange(), "data", "text"), Reason.INVALID_DATA),
        (changed(exchange(), "data/status", "200"), Reason.INVALID_DATA),
        (changed(exchange(), "data/status", ...), Reason.INVALID_DATA),
        (changed(exchange(), "data/surprise", 1), Reason.INVALID_DATA),
        (changed(exchange(), "data/session", "s1"), Reason.INVALID_DATA),
        (changed(exchange(), "data/arm", "treatment"), Reason.INVALID_DATA),
        (changed(exchange(), "data/propensity", 1.5), Reason.INVALID_DATA),
        (changed(exchange(), "data/completed_at", -1.0), Reason.INVALID_DATA),
        (changed(exchange(sampling=Sampling()), "data/sampling/temperature", -1.0), Reason.INVALID_DATA),
        (changed(exchange(sampling=Sampling()), "data/sampling/stop", "text"), Reason.INVALID_DATA),
        (wire(FULL).value.replace(b'"temperature":0.7', b'"temperature":true'), Reason.INVALID_DATA),
        (changed(exchange(), "data/identity", ""), Reason.INVALID_DATA),
        (changed(exchange(), "data/gen_ai.conversation.id", "s" * 257), Reason.INVALID_DATA),
        (changed(exchange(), "data/gen_ai.input.messages", [{"role": "user"}]), Reason.INVALID_DATA),
        (encode_exchange(exchange(), "/g").replace(b"1800000000.0", b"NaN"), Reason.INVALID_DATA),
        (encode_exchange(exchange(), "/g").replace(b"1800000000.0", b"1e999"), Reason.INVALID_DATA),
        (changed(exchange(), "data/exchange_id", "x2"), Reason.ID_MISMATCH),
        (changed(feedback(), "data/feedback_id", "f2"), Reason.ID_MISMATCH),
        (changed(feedback(), "data/trust", "absolute"), Reason.INVALID_DATA),
        (changed(feedback(), "data/kind", "applause"), Reason.INVALID_DATA),
        (changed(feedback(), SCORE, 1), Reason.INVALID_DATA),
        (changed(feedback(), SCORE, {"a": 1}), Reason.INVALID_DATA),
        (changed(feedback(kind="rating", value=3.0), SCORE, 9.0), Reason.INVALID_DATA),
        (changed(feedback(kind="rating", value=3.0), SCORE, True), Reason.INVALID_DATA),
        (changed(feedback(kind="rating", value=3.0), "data/rating_min", 5.0), Reason.INVALID_DATA),
        (changed(feedback(kind="outcome", value="retried"), SCORE, "ok"), Reason.INVALID_DATA),
        (changed(feedback(kind="correction", value=None, correction="c"), "data/correction", ...), Reason.INVALID_DATA),
        (changed(feedback(kind="preference", value="c"), SCORE, ...), Reason.INVALID_DATA),
        (changed(feedback(), "data/exchange_id", ""), Reason.INVALID_DATA),
        (changed(feedback(), "data/sent_at", "yesterday"), Reason.INVALID_DATA),
        (encode_exchange(exchange(completion="x" * 1_000_000), "/g"), Reason.TOO_LARGE),
    ],
)  # fmt: skip
def test_bad_input_becomes_a_dead_letter_with_its_reason(value: bytes, why: Reason) -> None:
    letter = decode(record(value))
    assert reason(letter) == why


def test_times_far_after_the_append_time_are_refused() -> None:
    assert reason(decode(wire(exchange(at=T0 + 311)))) == Reason.FUTURE_TIME
    assert isinstance(decode(wire(exchange(at=T0 + 309))), Decoded)
    assert reason(decode(wire(feedback(at=T0 + 311)))) == Reason.FUTURE_TIME


def test_only_our_deployments_and_their_tenants_pass_when_they_are_named() -> None:
    ours = DecodeLimits(deployments={"support": "acme"})
    assert isinstance(decode(wire(exchange()), ours), Decoded)
    assert reason(decode(wire(exchange(deployment="sales")), ours)) == Reason.FOREIGN
    assert reason(decode(wire(exchange(tenant="other")), ours)) == Reason.WRONG_TENANT
    assert reason(decode(wire(feedback(tenant="other")), ours)) == Reason.WRONG_TENANT


def test_a_dead_letter_keeps_the_bytes_redacted_and_no_user_text_in_its_detail() -> None:
    value = changed(exchange(), "data/ann@example.org", "leaked") + b" ann@example.org \xff"
    letter = decode(record(value, offset=9))
    assert isinstance(letter, DeadLetter)
    assert (letter.topic, letter.partition, letter.offset, letter.at) == ("t", 0, 9, T0 + 10)
    kept = base64.b64decode(letter.payload_b64)
    assert b"ann@example.org" not in kept and b"[EMAIL]" in kept and kept.endswith(b"\xff")
    assert "ann" not in letter.detail


def test_unknown_keys_are_not_quoted() -> None:
    letter = decode(record(changed(exchange(), "data/my-secret-key", 1)))
    assert isinstance(letter, DeadLetter) and "my-secret-key" not in letter.detail


def test_dead_letters_are_cut_and_their_id_is_where_they_lie() -> None:
    letter = dead_letter(record(b"x" * 200_000, offset=3), Reason.NOT_JSON, "d" * 1000, at=T0)
    assert len(base64.b64decode(letter.payload_b64)) == 64 * 1024
    assert len(letter.detail) == 300
    envelope = orjson.loads(encode_dead_letter(letter, "/daemon"))
    assert (envelope["id"], envelope["type"]) == ("t/0/3", "homeostat.dead_letter")
    assert DeadLetter.model_validate(envelope["data"]) == letter
    encode_dead_letter(letter.model_copy(update={"at": 1e300}), "/daemon")


TEXT = st.text(max_size=60)
VALID_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@pytest.mark.slow
@given(TEXT, TEXT, st.lists(TEXT, max_size=3))
@settings(max_examples=150, deadline=None)
def test_any_text_can_be_encoded_and_decoded(completion: str, role: str, contents: list[str]) -> None:
    event = exchange(completion=completion, messages=tuple(Message(role=role[:30], content=c) for c in contents))
    decoded = decode(wire(event))
    assert isinstance(decoded, Decoded) and isinstance(decoded.event, Exchange)
    if completion.isprintable():
        assert decoded.event.completion == completion


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | VALID_TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(VALID_TEXT, inner, max_size=3),
    max_leaves=5,
)
FIELDS = sorted(orjson.loads(wire(FULL).value)["data"])


@pytest.mark.slow
@given(st.sampled_from(FIELDS), JSON)
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_field_decodes_or_is_refused(name: str, value: object) -> None:
    result = decode(record(changed(FULL, f"data/{name}", value)))
    assert isinstance(result, Decoded) or result.reason in set(Reason)


@pytest.mark.slow
@given(st.binary(max_size=200), st.integers(0, 2000), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_it_raise(noise: bytes, place: int, byte: int) -> None:
    assert isinstance(decode(record(noise)), DeadLetter)
    good = bytearray(wire(FULL).value)
    good[place % len(good)] = byte
    result = decode(record(bytes(good)))
    assert isinstance(result, Decoded) or result.reason in set(Reason)
