"""What is found, and what must stay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streams import redact as module
from streams.events import FeedbackKind, Message
from streams.redact import redact, redact_exchange, redact_feedback
from tests.streams.events import exchange, feedback

# Made-up keys are written in two halves, so that no scanner takes this file for a leak.
FOUND = [
    ("write to ann.lee+x@mail.example.co.uk today", "write to [EMAIL] today"),
    ("ANN@EXAMPLE.ORG", "[EMAIL]"),
    ("<ann@example.org>, bob@example.org", "<[EMAIL]>, [EMAIL]"),
    ("card 4111 1111 1111 1111 exp 12/29", "card [CARD] exp 12/29"),
    ("4111-1111-1111-1111", "[CARD]"),
    ("5555555555554444.", "[CARD]."),
    ("amex 378282246310005", "amex [CARD]"),
    ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [IBAN] please"),
    ("GB29NWBK60161331926819", "[IBAN]"),
    ("from 192.168.10.254.", "from [IP]."),
    ("2001:db8:85a3::8a2e:370:7334 is it", "[IP] is it"),
    ("fe80::1ff:fe23:4567:890a", "[IP]"),
    ("call +49 170 1234567 now", "call [PHONE] now"),
    ("+1 (415) 555-2671", "[PHONE]"),
    ("(415) 555-2671", "[PHONE]"),
    ("415-555-2671", "[PHONE]"),
    ("030/1234567 oder 0170-1234567", "[PHONE] oder [PHONE]"),
    ("key sk-" + "abcdefghijklmnopqrstuvwx", "key [SECRET]"),
    ("sk-proj-" + "abcdefghij_klmnop-qrstuvwx", "[SECRET]"),
    ("ghp_" + "a" * 36, "[SECRET]"),
    ("AKIA" + "ABCDEFGHIJKLMNOP", "[SECRET]"),
    ("AIza" + "a" * 35, "[SECRET]"),
    ("xoxb-" + "123456789012-abcdef", "[SECRET]"),
    ("sk_live_" + "abcdefghijklmnop", "[SECRET]"),
    ("hf_" + "a" * 34, "[SECRET]"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "[SECRET]"),
    ("a -----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- b", "a [SECRET] b"),
    ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "[SECRET]"),
    ("4111-1111-1111-1111 415-555-2671", "[CARD] [PHONE]"),
    ("4111 1111 1111 1111 415", "[CARD] 415"),
    ("21 4111 1111 1111 1111", "21 [CARD]"),
    ("IBAN DE89 3704 0044 0532 0130 00 THEN CALL", "IBAN [IBAN] THEN CALL"),
    ("+49 170 1234567 12 34 56 78 90", "[PHONE] 34 56 78 90"),
]

STAYS = [
    "",
    "How do I change my card?",
    "order 48213377 of 2026-11-20 costs 1,299.00 EUR",
    "invoice 2024-000123, line 17",
    "reference 4111 1111 1111 1112",
    "serial 1234567890123456",
    "0000000000000000",
    "DE00 3704 0044 0532 0130 00",
    "version 3.0.12 at 12:30:45",
    "std::vector<int> and a::b",
    "256.300.1.1",
    "@home and a@b",
    "sk-short",
    "section 12 34 56",
    "ticket 100-200",
    "the 2019/2020 season",
    "room 101, floor 3, seats 200 300 400",
]


@pytest.mark.parametrize(("text", "expected"), FOUND)
def test_found(text: str, expected: str) -> None:
    redacted = redact(text)
    assert redacted.text == expected
    assert sum(redacted.counts.values()) == expected.count("[")


@pytest.mark.parametrize("text", STAYS)
def test_stays(text: str) -> None:
    assert redact(text).text == text
    assert redact(text).counts == {}


PIECES = st.one_of(st.sampled_from([t for t, _ in FOUND] + STAYS), st.text("0123456789 .:-@+()abcAKIZ_/", max_size=30))


@pytest.mark.slow
@given(st.lists(PIECES, max_size=6).map(" ".join))
@settings(max_examples=400, deadline=None)
def test_twice_is_once_and_the_first_look_misses_nothing(text: str) -> None:
    once = redact(text)
    assert redact(once.text).text == once.text
    if module._WORTH_A_LOOK.search(text) is None:  # pyright: ignore[reportPrivateUsage]
        for label, pattern, accept in module._RULES:  # pyright: ignore[reportPrivateUsage]
            assert not any(accept(m.group()) for m in pattern.finditer(text)), label


def test_an_exchange_is_redacted_in_messages_and_completion() -> None:
    dirty = exchange(
        messages=(Message(role="user", content="I am ann@example.org"),), completion="Thanks, ann@example.org"
    )
    clean, counts = redact_exchange(dirty)
    assert clean.prompt == "I am [EMAIL]" and clean.completion == "Thanks, [EMAIL]"
    assert counts == {"EMAIL": 2}
    plain = exchange()
    assert redact_exchange(plain) == (plain, {})


def test_feedback_is_redacted_in_all_its_texts() -> None:
    dirty = feedback(kind=FeedbackKind.PREFERENCE, value="a@b.org", correction="c@d.org", comment="e@f.org")
    clean, counts = redact_feedback(dirty)
    assert (clean.value, clean.correction, clean.comment) == ("[EMAIL]", "[EMAIL]", "[EMAIL]")
    assert counts == {"EMAIL": 3}
    thumb = feedback()
    assert redact_feedback(thumb) == (thumb, {}) and thumb.value is True
