"""How often one identity counts: a hostile user who floods a detector moves it no further than three people would."""

from __future__ import annotations

from collections import deque


class IdentityCap:
    """At most ``cap`` admitted events of one identity within ``window`` exchanges.

    Invariant: no identity holds more than ``cap`` places, and places older than ``window`` exchanges are free.
    """

    def __init__(self, cap: int, window: int) -> None:
        self._cap, self._window = cap, window
        self._order: deque[tuple[int, str]] = deque()
        self._held: dict[str, int] = {}

    def admit(self, identity: str, index: int) -> bool:
        """Whether the event at exchange ``index`` (never falling) counts; an admitted one takes a place."""
        while self._order and self._order[0][0] <= index - self._window:
            _, left = self._order.popleft()
            self._held[left] -= 1
            if not self._held[left]:
                del self._held[left]
        if self._held.get(identity, 0) >= self._cap:
            return False
        self._order.append((index, identity))
        self._held[identity] = self._held.get(identity, 0) + 1
        return True

    def dump(self) -> list[list[int | str]]:
        """JSON-able state."""
        return [[index, identity] for index, identity in self._order]

    def load(self, stored: list[list[int | str]]) -> None:
        """Take over a dumped state."""
        self._order, self._held = deque(), {}
        for index, identity in stored:
            self._order.append((int(index), str(identity)))
            self._held[str(identity)] = self._held.get(str(identity), 0) + 1
