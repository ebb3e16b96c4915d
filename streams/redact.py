"""Personal data and secrets out of text before anything is stored.

Own recognisers, each narrow enough that order numbers, prices and dates stay: a card must have a known length, an
issuer's first digit and a right Luhn checksum (ISO/IEC 7812-1), an IBAN the right length for its country class and
remainder 1 modulo 97 (ISO 13616), a secret a prefix its issuer documents. What is found becomes its label, for example
``[EMAIL]``; redacting twice changes nothing. Names and postal addresses are not found: they need a model of language.

Numbers stand beside other numbers ("4111 1111 1111 1111 415"), so where a whole match is not accepted its leading
groups are tried, longest first, and then what begins at its next group.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from streams.events import Exchange, Feedback

_SECRETS: Final = "|".join(
    (
        r"sk-(?:proj-|ant-|or-v1-)?[A-Za-z0-9_-]{20,}",
        r"[spr]k_(?:live|test)_[A-Za-z0-9]{16,}",
        r"gh[pousr]_[A-Za-z0-9]{36,}",
        r"github_pat_[A-Za-z0-9_]{22,}",
        r"glpat-[A-Za-z0-9_-]{20,}",
        r"hf_[A-Za-z0-9]{30,}",
        r"npm_[A-Za-z0-9]{36}",
        r"pypi-[A-Za-z0-9_-]{32,}",
        r"(?:AKIA|ASIA)[A-Z0-9]{16}",
        r"AIza[A-Za-z0-9_-]{35}",
        r"ya29\.[A-Za-z0-9_-]{20,}",
        r"xox[abeprs]-[A-Za-z0-9-]{10,}",
        r"SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}",
        r"dop_v1_[a-f0-9]{64}",
        r"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    )
)
_EDGE: Final = r"(?<![A-Za-z0-9_-])"

_PRIVATE_KEY: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,30}PRIVATE KEY-----|\Z)", re.DOTALL
)
_SECRET: Final = re.compile(rf"{_EDGE}(?:{_SECRETS})")
_EMAIL: Final = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.){1,8}[A-Za-z]{2,24}\b"
)
_IBAN: Final = re.compile(r"\b[A-Z]{2}[0-9]{2}(?:[ -]?[A-Z0-9]{4}){2,7}(?:[ -]?[A-Z0-9]{1,3})?\b")
_CARD: Final = re.compile(r"(?<![0-9A-Za-z.+-])[2-6](?:[ -]?[0-9]){11,18}(?![0-9A-Za-z])")
_IPV4: Final = re.compile(
    r"(?<![0-9A-Za-z.])(?:(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(?!\.?[0-9A-Za-z])"
)
_IPV6: Final = re.compile(r"(?<![0-9A-Za-z:.])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![0-9A-Za-z:])")
_PHONE: Final = re.compile(
    r"(?<![0-9A-Za-z+.-])(?:"
    r"(?:\+|(?<![0-9] )00)[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]{1,5}\)?){2,6}"  # international
    r"|\(?[2-9][0-9]{2}\)?[ .-][2-9][0-9]{2}[ .-][0-9]{4}"  # North American
    r"|\(?0[1-9][0-9]{1,4}\)?[ /-][0-9]{3,4}[ -]?[0-9]{3,5}"  # national with trunk zero
    r")(?![0-9A-Za-z])"
)


@dataclass(frozen=True, slots=True)
class Redacted:
    """The text without what was found, and how often each kind was."""

    text: str
    counts: dict[str, int] = field(default_factory=dict[str, int])


def _luhn(digits: str) -> bool:
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"[ -]", "", text)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and _luhn(digits)


def _is_iban(text: str) -> bool:
    compact = re.sub(r"[ -]", "", text)
    if not 15 <= len(compact) <= 34:
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def _is_ipv6(text: str) -> bool:
    if sum(c in "0123456789abcdefABCDEF" for c in text) < 3:
        return False  # "::" is a C++ scope, "::1" is everybody's own machine
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _is_phone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


def _always(text: str) -> bool:
    return True


_RULES: Final[tuple[tuple[str, re.Pattern[str], Callable[[str], bool]], ...]] = (
    # Order matters: longer and better checked first, so that a part of one is never taken for another.
    ("SECRET", _PRIVATE_KEY, _always),
    ("SECRET", _SECRET, _always),
    ("EMAIL", _EMAIL, _always),
    ("IBAN", _IBAN, _is_iban),
    ("CARD", _CARD, _is_card),
    ("IP", _IPV6, _is_ipv6),
    ("IP", _IPV4, _always),
    ("PHONE", _PHONE, _is_phone),
)

_LABELLED: Final = re.compile(rf"\[(?:{'|'.join(sorted({label for label, _, _ in _RULES}))})\]")
_SEPARATOR: Final = re.compile(r"[ -]")
_WORTH_A_LOOK: Final = re.compile(
    r"@|[0-9][^A-Za-z]{0,3}[0-9]|[0-9A-Fa-f]:|PRIVATE KEY|AIza|[-_.][A-Za-z0-9_-]{10}|[A-Z0-9]{12}"
)


def _ends(match: re.Match[str]) -> Iterator[int]:
    """Where a finding that begins with this match may end: at its end, or before one of its separators."""
    yield match.end()
    yield from (match.start() + m.start() for m in reversed(list(_SEPARATOR.finditer(match.group()))))


def _replace(text: str, label: str, pattern: re.Pattern[str], accept: Callable[[str], bool]) -> tuple[str, int]:
    """The text with this rule's findings replaced, and their number."""
    kept: list[str] = []
    copied = at = 0
    while (match := pattern.search(text, at)) is not None:
        begin = match.start()
        end = next((e for e in _ends(match) if accept(text[begin:e])), None)
        if end is None:
            separator = _SEPARATOR.search(text, begin + 1, match.end())
            at = separator.end() if separator else match.end()
        else:
            kept += (text[copied:begin], f"[{label}]")
            copied = at = end
    return "".join((*kept, text[copied:])), len(kept) // 2


def redact(text: str) -> Redacted:
    """``text`` with each finding replaced by its label. Pure and idempotent; linear in the length of the text."""
    counts: dict[str, int] = {}
    # A label in place of a number may uncover its neighbour: look again until a look finds nothing.
    found = _WORTH_A_LOOK.search(text) is not None
    while found:
        found = False
        for label, pattern, accept in _RULES:
            text, count = _replace(text, label, pattern, accept)
            if count:
                found = True
                counts[label] = counts.get(label, 0) + count
    return Redacted(text, counts)


class _Tally:
    """Redacts several texts and adds up what was found."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        found = redact(text)
        for label, count in found.counts.items():
            self.counts[label] = self.counts.get(label, 0) + count
        return found.text


def redact_exchange(exchange: Exchange) -> tuple[Exchange, dict[str, int]]:
    """The exchange with messages and completion redacted; the same object when nothing was found."""
    clean = _Tally()
    messages = tuple(m.model_copy(update={"content": clean(m.content)}) for m in exchange.messages)
    completion = clean(exchange.completion)
    if not clean.counts:
        return exchange, {}
    return exchange.model_copy(update={"messages": messages, "completion": completion}), clean.counts


def redact_feedback(feedback: Feedback) -> tuple[Feedback, dict[str, int]]:
    """The feedback with correction, comment and a textual value redacted; the same object when nothing was found."""
    clean = _Tally()
    changed: dict[str, str] = {}
    for name in ("value", "correction", "comment"):
        text = getattr(feedback, name)
        if isinstance(text, str):
            changed[name] = clean(text)
    if not clean.counts:
        return feedback, {}
    return feedback.model_copy(update=changed), clean.counts


def was_redacted(text: str) -> bool:
    """Whether a label stands where something was: the text is not what its writer wrote."""
    return _LABELLED.search(text) is not None
