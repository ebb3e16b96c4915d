"""From a feedback request to an event, and what is refused by which name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.gateway.config import ServedDeployment
from deploy.gateway.feedback import Accepted, Refused, take
from deploy.gateway.tokens import Claims, mint
from streams.codec import Decoded, decode, encode_feedback
from streams.events import FeedbackKind, Trust
from streams.log import Record

KEY = b"k" * 64
ONE = (ServedDeployment(name="support", alias="support", base_name="support-base"),)
TWO = (*ONE, ServedDeployment(name="sales", alias="sales", base_name="sales-base", tenant="t2"))
NOW = 1_700_000_000.0
CLAIMS = Claims("support", "default", "s-1", "e-1", "i-1", "seal", int(NOW) + 60)
TOKEN = mint(KEY, CLAIMS)


def given(accept_bare: bool = True, deployments: tuple[ServedDeployment, ...] = ONE, **body: Any) -> Accepted | Refused:
    """What becomes of a request."""
    return take(json.dumps(body).encode(), KEY, deployments, accept_bare, NOW)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"value": True}, FeedbackKind.THUMB),
        ({"value": False, "comment": "no"}, FeedbackKind.THUMB),
        ({"value": 4}, FeedbackKind.RATING),
        ({"value": 2.5}, FeedbackKind.RATING),
        ({"value": "escalated"}, FeedbackKind.OUTCOME),
        ({"correction": "the right one"}, FeedbackKind.CORRECTION),
        ({"correction": ""}, FeedbackKind.CORRECTION),
        ({"value": False, "correction": "the right one"}, FeedbackKind.CORRECTION),
        ({"kind": "preference", "value": "this one"}, FeedbackKind.PREFERENCE),
        ({"name": "rating", "value": 3}, FeedbackKind.RATING),
        ({"name": "helpfulness", "value": True}, FeedbackKind.THUMB),
    ],
)
def test_one_route_takes_all_kinds(body: dict[str, Any], kind: FeedbackKind) -> None:
    taken = given(token=TOKEN, **body)
    assert isinstance(taken, Accepted)
    feedback = taken.feedback
    assert (feedback.kind, feedback.trust, feedback.token_expiry) == (kind, Trust.TOKEN, NOW + 60)
    assert (feedback.session, feedback.identity, feedback.exchange_id) == ("s-1", "i-1", "e-1")
    record = Record("t", 0, 0, "s-1", encode_feedback(feedback, "/gateway/x", taken.token), NOW)
    assert isinstance(decode(record), Decoded)  # the daemon can read it


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({"value": "maybe"}, 422, "value"),
        ({}, 422, "value"),
        ({"kind": "thumb", "value": 1}, 422, "value"),
        ({"kind": "stars", "value": 1}, 422, "kind"),
        ({"value": 9}, 422, "value"),
        ({"kind": "rating", "value": 1, "rating_min": 5, "rating_max": 1}, 422, "rating_min"),
        ({"kind": "correction"}, 422, "correction"),
        ({"value": True, "choice": -1}, 422, "choice"),
        ({"value": True, "stars": 5}, 422, "stars"),
        ({"value": True, "id": ""}, 422, "id"),
        ({"value": True, "exchange_id": "e-2"}, 401, "token"),
    ],
)
def test_what_is_wrong_is_named(body: dict[str, Any], status: int, param: str) -> None:
    taken = given(token=TOKEN, **body)
    assert isinstance(taken, Refused)
    assert (taken.status, taken.param) == (status, param)
    assert taken.message.startswith(param)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"value": NaN}', b"\xff\xfe"])
def test_what_is_no_json_object_is_refused(body: bytes) -> None:
    taken = take(body, KEY, ONE, True, NOW)
    assert isinstance(taken, Refused) and taken.status == 422


def test_a_wrong_token_is_worse_than_none() -> None:
    for token in ("x", TOKEN[:-1] + ("A" if TOKEN[-1] != "A" else "B"), mint(b"o" * 64, CLAIMS)):
        taken = given(token=token, exchange_id="e-1", value=True)
        assert isinstance(taken, Refused) and taken.status == 401
    late = take(json.dumps({"token": TOKEN, "value": True}).encode(), KEY, ONE, True, NOW + 61)
    assert isinstance(late, Refused) and late.status == 401 and "expired" in late.message


def test_bare_feedback_is_the_lowest_class_and_can_be_refused() -> None:
    taken = given(exchange_id="e-9", value=True)
    assert isinstance(taken, Accepted)
    assert (taken.feedback.trust, taken.feedback.session, taken.token) == (Trust.BARE, None, None)
    refused = given(accept_bare=False, exchange_id="e-9", value=True)
    assert isinstance(refused, Refused) and refused.status == 401
    nameless = given(value=True)
    assert isinstance(nameless, Refused) and nameless.param == "exchange_id"


def test_bare_feedback_names_its_deployment_where_there_are_several() -> None:
    unnamed = given(deployments=TWO, exchange_id="e", value=True)
    assert isinstance(unnamed, Refused) and unnamed.param == "model"
    named = given(deployments=TWO, exchange_id="e", value=True, model="sales")
    assert isinstance(named, Accepted) and (named.feedback.deployment, named.feedback.tenant) == ("sales", "t2")


def test_ids_are_scoped_so_that_nobody_can_take_anothers() -> None:
    mine, again = given(token=TOKEN, value=True, id="a"), given(token=TOKEN, value=True, id="a")
    bare = given(exchange_id="e-1", value=False, id="a")
    assert isinstance(mine, Accepted) and isinstance(again, Accepted) and isinstance(bare, Accepted)
    assert mine.feedback.feedback_id == again.feedback.feedback_id != bare.feedback.feedback_id
