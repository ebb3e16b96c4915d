"""How people word and mistype a message: alternatives, digits, paraphrases, typos. Pure functions of text and rng."""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence

from daemon.demo.world.grammar import CHOICE


def choose(template: str, rng: random.Random) -> str:
    """Each "(a|b|)" replaced by one of its alternatives."""
    return CHOICE.sub(lambda m: rng.choice(m[1].split("|")), template)


def digits(text: str, rng: random.Random) -> str:
    """Each '#' replaced by a digit."""
    return re.sub("#", lambda _: rng.choice("0123456789"), text)


def paraphrase(text: str, table: Mapping[str, Sequence[str]], rng: random.Random) -> str:
    """One phrase of the table that occurs in the text as whole words, replaced by a synonym; else the text itself."""
    found = [phrase for phrase in table if re.search(rf"\b{re.escape(phrase)}\b", text)]
    if not found:
        return text
    phrase = rng.choice(found)
    return re.sub(rf"\b{re.escape(phrase)}\b", rng.choice(table[phrase]), text, count=1)


def mistype(text: str, rng: random.Random) -> str:
    """One slip in one longer word: two letters swapped, one left out or one doubled; short texts stay as they are."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not long:
        return text
    i = rng.choice(long)
    word = words[i]
    at = rng.randrange(1, len(word) - 1)
    slip = rng.randrange(3)
    if slip == 0:
        words[i] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    elif slip == 1:
        words[i] = word[:at] + word[at + 1 :]
    else:
        words[i] = word[:at] + word[at] + word[at:]
    return " ".join(words)
