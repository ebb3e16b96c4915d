"""Made-up traffic for the monitors' tests: desks with words of their own, in shared sentence frames."""

from __future__ import annotations

import random
from collections.abc import Iterator

from streams.events import Exchange, Message

_FRAMES = (
    "how do i {v} my {n}",
    "please {v} the {n} for me",
    "my {n} will not {v} today",
    "can you {v} a {n}",
    "i need to {v} this {n} now",
    "what if the {n} cannot {v}",
)
_SYLLABLES = ("ba", "ko", "ri", "tu", "le", "ma", "so", "ni", "pa", "vo", "du", "ge")
INTENTS = 8


def _word(rng: random.Random) -> str:
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 3)))


def desk(name: str, intents: int = INTENTS) -> list[tuple[list[str], list[str]]]:
    """Verbs and nouns of each intent of a desk."""
    rng = random.Random(f"desk-{name}")
    return [([_word(rng) for _ in range(3)], [_word(rng) for _ in range(3)]) for _ in range(intents)]


def prompt(name: str, rng: random.Random) -> str:
    verbs, nouns = rng.choice(desk(name))
    return rng.choice(_FRAMES).format(v=rng.choice(verbs), n=rng.choice(nouns))


def exchange(index: int, text: str, session: str, identity: str, reply: str = "done", latency: float = 0.1) -> Exchange:
    at = 1_000_000.0 + index
    return Exchange(
        exchange_id=f"x{index}",
        deployment="d",
        tenant="t",
        session=session,
        identity=identity,
        messages=(Message(role="user", content=text),),
        completion=reply,
        version="v",
        received_at=at,
        dispatched_at=at,
        completed_at=at + latency,
        status=200,
    )


def traffic(desks: list[str], count: int, seed: int, first: int = 0) -> Iterator[Exchange]:
    """``count`` exchanges; sessions of 1-3 turns on one desk each, of 500 people."""
    rng = random.Random(seed)
    session, left, name, who = 0, 0, desks[0], 0
    for index in range(first, first + count):
        if left == 0:
            session += 1
            left, name, who = rng.randint(1, 3), rng.choice(desks), rng.randrange(500)
        left -= 1
        yield exchange(index, prompt(name, rng), f"s{seed}-{session}", f"u{who}")
