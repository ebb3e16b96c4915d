"""A small picture in memory and its PNG: rectangles, spans, text in a 5 x 7 font; eight colours of a palette.

Written here because nothing else of the daemon needs an image library, and a chart of stairs needs no more than this.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

PALETTE: Final = (
    (255, 255, 255),
    (31, 41, 55),
    (156, 163, 175),
    (229, 231, 235),
    (37, 99, 235),
    (220, 38, 38),
    (5, 150, 105),
    (217, 119, 6),
    (124, 58, 237),
    (8, 145, 178),
)
WHITE, INK, GREY, PALE = 0, 1, 2, 3
COLOURS: Final = (4, 5, 6, 7, 8, 9)
GLYPH_WIDTH: Final = 6
"""Columns of a character, the gap included."""
GLYPH_HEIGHT: Final = 8

_KEYS: Final = " !%()+,-./0123456789:=_abcdefghijklmnopqrstuvwxyz"
_FONT: Final = (
    "0000000000 00005f0000 2313086462 001c224100 0041221c00 08083e0808 0050300000 0808080808 0060600000 2010080402 "
    "3e5149453e 00427f4000 4261514946 2141454b31 1814127f10 2745454539 3c4a494930 0171090503 3649494936 064949291e "
    "0036360000 1414141414 4040404040 2054545478 7f48444438 3844444420 384444487f 3854545418 087e090102 18a4a49c78 "
    "7f08040478 00447d4000 2040443d00 7f10284400 00417f4000 7c04180478 7c08040478 3844444438 fc18242418 18242418fc "
    "7c08040408 4854545420 043f444020 3c4040207c 1c2040201c 3c4030403c 4428102844 4c9090907c 4464544c44"
)
"""Five columns a character, two hexadecimal digits each, the lowest bit on top."""
GLYPHS: Final = {key: bytes.fromhex(columns) for key, columns in zip(_KEYS, _FONT.split(), strict=True)}


class Canvas:
    """Pixels as indices of ``PALETTE``; what lies outside is not drawn."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._rows = [bytearray(width) for _ in range(height)]

    def fill(self, x: int, y: int, width: int, height: int, colour: int) -> None:
        """A rectangle whose upper left corner is (x, y)."""
        left, right = max(x, 0), min(x + width, self.width)
        for row in self._rows[max(y, 0) : max(min(y + height, self.height), 0)]:
            row[left:right] = bytes([colour]) * max(right - left, 0)

    def text(self, x: int, y: int, words: str, colour: int, scale: int = 2) -> None:
        """A line of text, its upper left corner at (x, y); capitals become small, unknown characters a gap."""
        for n, character in enumerate(words.lower()):
            for column, bits in enumerate(GLYPHS.get(character, b"")):
                for row in range(GLYPH_HEIGHT):
                    if bits >> row & 1:
                        self.fill(x + (n * GLYPH_WIDTH + column) * scale, y + row * scale, scale, scale, colour)

    def pixel(self, x: int, y: int) -> int:
        """Palette index at (x, y)."""
        return self._rows[y][x]

    def png(self) -> bytes:
        """The picture as an 8-bit palette PNG (ISO/IEC 15948)."""
        raw = b"".join(b"\0" + bytes(row) for row in self._rows)
        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 3, 0, 0, 0)
        palette = bytes(value for colour in PALETTE for value in colour)
        chunks = ((b"IHDR", head), (b"PLTE", palette), (b"IDAT", zlib.compress(raw, 9)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
