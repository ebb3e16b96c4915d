"""Hashed n-grams of a text: words and word pairs, and short character runs inside words.

Hashes are CRC-32 of the UTF-8 gram, so that they are the same in every process, release and machine (Python's own
``hash`` is salted per process). Folding them into buckets is the hashing trick of Weinberger et al. 2009.
"""

from __future__ import annotations

import re
from itertools import pairwise
from zlib import crc32

_WORD = re.compile(r"[^\W_]+")
MAX_WORDS = 256
"""Words of a text that are looked at: a pasted book costs no more than a page."""
MAX_WORD = 40
"""Characters of a word that are looked at."""
_CHARS = (3, 4)
_BOUNDARY = "\x02"


def words(text: str) -> list[str]:
    """Lower-case words, at most ``MAX_WORDS`` of them; numbers are folded, so that all order numbers are one word."""
    found: list[str] = []
    for match in _WORD.finditer(text.casefold()):
        word = match.group()[:MAX_WORD]
        found.append("0" if word.isdigit() else word)
        if len(found) == MAX_WORDS:
            break
    return found


def word_grams(tokens: list[str]) -> list[str]:
    """The words and the neighbouring pairs, boundaries included ("^ my" is a pair)."""
    padded = [_BOUNDARY, *tokens, _BOUNDARY]
    return [*tokens, *(f"{a} {b}" for a, b in pairwise(padded))]


def char_grams(tokens: list[str]) -> list[str]:
    """Runs of 3 and 4 characters of each word with its boundaries: they survive typos and unseen inflections."""
    found: list[str] = []
    for token in dict.fromkeys(tokens):
        padded = f"<{token}>"
        for width in _CHARS:
            found.extend("#" + padded[i : i + width] for i in range(len(padded) - width + 1))
    return found


def bucket(gram: str, buckets: int) -> int:
    """Bucket of a gram, 0 to ``buckets - 1``."""
    return crc32(gram.encode()) % buckets


def hashed(text: str, buckets: int) -> list[int]:
    """Distinct buckets of all grams of a text, ascending; presence and not counts, since prompts are short."""
    tokens = words(text)
    return sorted({bucket(gram, buckets) for gram in (*word_grams(tokens), *char_grams(tokens))})
