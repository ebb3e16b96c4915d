"""Exchange and feedback ids: UUID version 7 (RFC 9562 §5.7), so that they sort by time."""

from __future__ import annotations

from os import urandom


def uuid7(now: float) -> str:
    """A new id for the wall-clock second ``now``: 48 bits of milliseconds, then 74 random bits."""
    head = int(now * 1000) & 0xFFFF_FFFF_FFFF
    tail = int.from_bytes(urandom(10), "big")
    high = (tail >> 64) & 0x0FFF
    low = tail & 0x3FFF_FFFF_FFFF_FFFF
    value = f"{(head << 80) | (0x7000 | high) << 64 | (0x8000_0000_0000_0000 | low):032x}"
    return f"{value[:8]}-{value[8:12]}-{value[12:16]}-{value[16:20]}-{value[20:]}"
