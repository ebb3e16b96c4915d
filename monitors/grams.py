"""Hashed n-grams of a text: words and word pairs, and short character runs inside words.

Hashes are CRC-32 of the UTF-8 gram, so that they are the same in every process, release and machine (Python's own
``hash`` is salted per process). Folding them into buckets is the hashing trick of Weinberger et al., ICML 2009.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"[^\W_]+")
MAX_WORDS = 256
"""Words of a text that are looked at: a pasted book costs no more than a page."""
MAX_WORD = 40
"""Characters of a word that are looked at."""
_CHARS = (3, 4)
_EDGE = "\x02"
_CACHED_WORDS = 1 << 14
"""Words whose hashes are kept: traffic repeats its words, and hashing is most of the cost of an event."""


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
    """The words and the neighbouring pairs, the edges of the text included."""
    return [*tokens, *(f"{a} {b}" for a, b in pairwise([_EDGE, *tokens, _EDGE]))]


@lru_cache(maxsize=_CACHED_WORDS)
def _word_buckets(word: str, buckets: int) -> frozenset[int]:
    """Of the word and of its runs of 3 and 4 characters, edges included: those survive typos and inflections."""
    padded = f"<{word}>"
    runs = ["#" + padded[i : i + width] for width in _CHARS for i in range(len(padded) - width + 1)]
    return frozenset(bucket(gram, buckets) for gram in (word, *runs))


@lru_cache(maxsize=_CACHED_WORDS)
def _pair_bucket(left: str, right: str, buckets: int) -> int:
    return bucket(f"{left} {right}", buckets)


def bucket(gram: str, buckets: int) -> int:
    """Bucket of a gram, 0 to ``buckets - 1``."""
    return crc32(gram.encode()) % buckets


def hashed(text: str, buckets: int) -> list[int]:
    """Distinct buckets of all grams of a text, ascending; presence and not counts, since prompts are short."""
    return hashed_words(words(text), buckets)


def hashed_words(tokens: list[str], buckets: int) -> list[int]:
    """The same from the words of a text."""
    return sorted(_distinct(tokens, buckets))


def _distinct(tokens: list[str], buckets: int) -> set[int]:
    if not tokens:
        return set()
    found = {_pair_bucket(a, b, buckets) for a, b in pairwise([_EDGE, *tokens, _EDGE])}
    return found.union(*[_word_buckets(token, buckets) for token in tokens])


@lru_cache(maxsize=8)
def hashed_array(text: str, buckets: int) -> NDArray[np.int64]:
    """``hashed`` as a read-only array; the newest few are kept, since several detectors look at one event."""
    distinct = _distinct(words(text), buckets)
    found = np.fromiter(distinct, dtype=np.int64, count=len(distinct))
    found.sort()
    found.setflags(write=False)
    return found
