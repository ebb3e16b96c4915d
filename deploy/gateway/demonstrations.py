"""Examples in the prompt: the pairs of a demonstrations version go into chat requests behind the system messages.

The pairs come from the verified artifact of the version on this host and are read when a route that names it is
adopted, before the swap: a table holds names and pairs together, and no request meets one without the other. What
cannot be read is counted and left out; the server then knows no such model, and the request goes the way of any
version that a replica lacks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from adapters.demonstrations import Demonstrations, DemonstrationsInvalid, holds_demonstrations, read_demonstrations
from deploy.gateway.rewrite import Fields, parse
from deploy.routes import RouteFile
from streams.events import SYSTEM_ROLES

log = logging.getLogger(__name__)
MOST: Final = 16
"""Versions whose pairs are remembered; a host serves four at a time."""
_SPELT: Final = ("return_token_ids", "prompt_logprobs", "echo")
"""Fields of a request that ask for its prompt again, as ids or as text."""
_NO: Final = frozenset((b"null", b"false"))


class _Turn(msgspec.Struct):
    role: str = ""


_messages = msgspec.json.Decoder(list[msgspec.Raw])
_turn = msgspec.json.Decoder(_Turn)
_encoder = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class Shown:
    """The pairs of one version as encoded chat messages, and the version that the server is asked for."""

    stands_on: str
    turns: tuple[msgspec.Raw, ...]

    @classmethod
    def of(cls, made: Demonstrations) -> Shown:
        """Encoded once, for all requests."""
        return cls(made.stands_on, tuple(msgspec.Raw(_encoder.encode(turn)) for turn in made.turns()))


def with_pairs(fields: Fields, shown: Shown) -> Fields:
    """The request with the pairs behind its system messages; every other byte is the client's own.

    Messages that are none (no list of objects, or an empty one) stay as they are: the server says what is wrong with
    them.
    """
    raw, at = fields.get("messages"), 0
    try:
        messages = _messages.decode(raw) if raw is not None else []
        while at < len(messages) and _turn.decode(messages[at]).role in SYSTEM_ROLES:
            at += 1
    except (msgspec.MsgspecError, UnicodeError):
        return fields
    if not messages:
        return fields
    return {**fields, "messages": msgspec.Raw(_encoder.encode([*messages[:at], *shown.turns, *messages[at:]]))}


def asks_for_prompt(fields: Fields) -> bool:
    """Whether a reply would spell out what the server read: other people's words, and that they were there."""
    return any(name in fields and bytes(fields[name]) not in _NO for name in _SPELT)


def by_name(body: bytes, shown: Shown, chat: bool) -> bytes:
    """A request that named the version itself (gate, soak, proof), as the server must read it.

    Raises msgspec.MsgspecError.
    """
    fields = parse(body)
    changed = with_pairs(fields, shown) if chat else dict(fields)
    return _encoder.encode({**changed, "model": msgspec.Raw(_encoder.encode(shown.stands_on))})


class Shelf:
    """Reads pairs below the artifacts folder and remembers the newest ``MOST`` versions. Thread-safe: the route watch
    reads on its own thread, pushes on the event loop.
    """

    def __init__(self, artifacts: Path, on_fault: Callable[[str], None]) -> None:
        self._artifacts, self._on_fault = artifacts, on_fault
        self._lock = threading.Lock()
        self._known: dict[str, Shown] = {}

    def of(self, version: str) -> Shown | None:
        """The pairs of a version; None for every other kind, at the price of one ``stat``. Never raises."""
        known = self._known.get(version)
        if known is not None:
            return known
        folder = self._artifacts / version
        try:
            if not holds_demonstrations(folder):
                return None
            manifest, made = read_demonstrations(folder)
            if manifest.version != version:
                raise DemonstrationsInvalid(f"{folder} holds {manifest.version}")
        except (OSError, ValueError) as fault:
            self._on_fault("demonstrations")
            log.warning("the pairs of %s cannot be read, it is not served here: %s", version, fault)
            return None
        with self._lock:
            while len(self._known) >= MOST:
                del self._known[next(iter(self._known))]
            return self._known.setdefault(version, Shown.of(made))

    def of_route(self, file: RouteFile) -> Mapping[str, Shown]:
        """The pairs of every version that a route file names. Never raises."""
        found: dict[str, Shown] = {}
        for route in file.routes:
            candidate = route.split.candidate if route.split is not None else None
            anchor = route.holdback.anchor if route.holdback is not None else None
            for version in (route.control, candidate, anchor):
                shown = self.of(version) if version is not None else None
                if version is not None and shown is not None:
                    found[version] = shown
        return found
