"""Which language a prompt is written in, and which language's share of the traffic has risen.

The n-grams of the detectors tell a new language as they tell any new topic; this gives the finding its name. A text in
a script of its own is told by its letters, one in Latin letters by the common words, letters and endings of seventeen
languages (``languages.json``), a word that several share counting less (Grefenstette, "Comparing two language
identification schemes", JADT 1995). Names are ISO 639-1; ``und`` (ISO 639-2) is a text that does not tell.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final

from monitors.grams import words

UNDETERMINED: Final = "und"
_LETTER, _ENDING = 0.7, 0.25
"""What a typical letter or ending of a word is worth; a common word of this language alone is worth 1."""
_LEAST, _MARGIN = 0.9, 1.15
"""Score that a language needs, and its ratio to the second one's."""
_MOST_CHARACTERS = 400
"""Of a prompt that are looked at."""
_LEAST_RISE, _LEAST_ERRORS = 0.05, 4.0
"""A share has risen when it did so by five points, and by four standard errors."""


@dataclass(frozen=True)
class LanguageRise:
    """The language whose share of the prompts rose most."""

    language: str
    before: float
    since: float


@dataclass(frozen=True)
class _Profiles:
    """Of the data file, turned round: what each word, letter and ending says."""

    words: Mapping[str, Mapping[str, float]]
    letters: Mapping[str, Sequence[str]]
    endings: Mapping[str, Sequence[str]]
    scripts: Sequence[tuple[int, int, str]]
    variants: Mapping[str, Mapping[str, str]]


def language_of(text: str) -> str:
    """Name of the language.

    >>> language_of("where is my parcel"), language_of("¿dónde está mi paquete?"), language_of("7 x 3")
    ('en', 'es', 'und')
    """
    text = text[:_MOST_CHARACTERS].casefold()
    return _by_script(text) or _by_words(text)


def risen(before: Sequence[str], since: Sequence[str]) -> LanguageRise | None:
    """The language whose share is larger in ``since`` than in ``before`` beyond chance; None where none is."""
    if not before or not since:
        return None
    old, new = Counter(map(language_of, before)), Counter(map(language_of, since))
    best: LanguageRise | None = None
    for language, count in sorted(new.items()):
        was, now = old[language] / len(before), count / len(since)
        pooled = (old[language] + count + 0.5) / (len(before) + len(since) + 1.0)
        error = math.sqrt(max(pooled * (1.0 - pooled), 0.0) * (1.0 / len(before) + 1.0 / len(since)))
        if language == UNDETERMINED or now - was < max(_LEAST_RISE, _LEAST_ERRORS * error):
            continue
        if best is None or now - was > best.since - best.before:
            best = LanguageRise(language, was, now)
    return best


def _by_script(text: str) -> str | None:
    """The language of the script that most letters are of; None for Latin letters and for none."""
    found = Counter[str]()
    for character in text:
        if character.isalpha():
            found[_script_of(ord(character))] += 1
    if not found:
        return None
    # Japanese mixes in many more Chinese characters than its own.
    script = "ja" if found["ja"] and found["ja"] + found["zh"] > found[""] else found.most_common(1)[0][0]
    for variant, letters in _profiles().variants.get(script, {}).items():
        if any(letter in text for letter in letters):
            return variant
    return script or None


@lru_cache(maxsize=1 << 10)
def _script_of(code: int) -> str:
    return next((name for low, high, name in _profiles().scripts if low <= code <= high), "")


def _by_words(text: str) -> str:
    profiles, scores = _profiles(), defaultdict[str, float](float)
    for word in words(text):
        for language, value in profiles.words.get(word, {}).items():
            scores[language] += value
        for letter in set(word):
            for language in profiles.letters.get(letter, ()):
                scores[language] += _LETTER
        for size in range(2, min(6, len(word) - 1)):
            for language in profiles.endings.get(word[-size:], ()):
                scores[language] += _ENDING
    if not scores:
        return UNDETERMINED
    best, most = max(scores.items(), key=lambda pair: (pair[1], pair[0]))
    second = max((score for language, score in scores.items() if language != best), default=0.0)
    return best if most >= _LEAST and most >= _MARGIN * second else UNDETERMINED


@lru_cache(maxsize=1)
def _profiles() -> _Profiles:
    stored = json.loads(files("monitors").joinpath("languages.json").read_text("utf-8"))
    listed = {language: _listed(text) for language, text in stored["words"].items()}
    owners: dict[str, list[str]] = {}
    for language, found in listed.items():
        for word in found:
            owners.setdefault(word, []).append(language)
    return _Profiles(
        words={word: {language: 1.0 / len(names) for language in names} for word, names in owners.items()},
        letters=_by_part({language: list(letters) for language, letters in stored["letters"].items()}),
        endings=_by_part({language: text.split() for language, text in stored["endings"].items()}),
        scripts=[(low, high, name) for name, (low, high) in stored["scripts"].items()],
        variants=stored["variants"],
    )


def _listed(text: str) -> set[str]:
    """Words of a list that may be longer than a prompt."""
    return {part for word in text.split() for part in words(word)}


def _by_part(listed: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for language, parts in listed.items():
        for part in parts:
            found.setdefault(part, []).append(language)
    return found
