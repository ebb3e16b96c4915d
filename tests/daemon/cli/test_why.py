"""``homeostat why`` against a running API: the words, the chart and the picture that a person gets."""

from __future__ import annotations

import json
import math
import struct
import zlib
from pathlib import Path

import pytest

from daemon.cli.plot import panel, resample, scale
from daemon.cli.raster import INK, PALETTE, Canvas
from daemon.store import Store
from tests.daemon.cli.shell import Served, Shell
from tests.daemon.recorded import record_rollout


def test_why_a_candidate_was_rolled_back(shell: Shell, served: Served, store: Store, tmp_path: Path) -> None:
    record_rollout(store, good=0.05, bad=0.95)
    home = ("--home", str(served.home))
    picture = tmp_path / "r1.png"
    result = shell("why", "r1", *home, "--png", str(picture))
    assert result.code == 0, result.err
    assert "rollout r1 of support-bbbbbbbbbbbb against support-000000000000: rolled back" in result.out
    for section in ("DECIDED", "NUMBERS", "ARMS", "EFFECT", "NEXT", "NOTES", "YOU CAN", "STORY"):
        assert f"\n{section} " in result.out or f"\n{section}\n" in result.out, section
    assert "and 20 ends a rollout" in " ".join(result.out.split())
    chart = result.out.split("e-value of harm: ")[1].splitlines()
    assert "decides at 20" in chart[0]
    limit = next(line for line in chart if line.lstrip().startswith("20 ┤"))
    assert limit.rstrip().endswith("█") or limit.rstrip()[-1] in "▁▂▃▄▅▆▇", "the last column reaches the threshold"
    assert "┄" in limit
    assert picture.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    found = json.loads(shell("why", "r1", *home, "--json").out)
    assert found["explanation"]["decided"]["reason"] == "reward_harm"
    assert found["story"][-1]["reason"] == "reward_harm"


def test_a_picture_of_nothing_is_refused(shell: Shell, served: Served, store: Store, tmp_path: Path) -> None:
    record_rollout(store, good=0.5, bad=0.5, units=0)
    home = ("--home", str(served.home))
    nothing = shell("why", "r1", *home, "--png", str(tmp_path / "x.png"))
    assert (nothing.code, "has no units" in nothing.err) == (2, True)
    assert not (tmp_path / "x.png").exists()


def test_a_picture_that_cannot_be_written_says_where(
    shell: Shell, served: Served, store: Store, tmp_path: Path
) -> None:
    record_rollout(store, good=0.5, bad=0.5, units=5)
    result = shell("why", "r1", "--home", str(served.home), "--png", str(tmp_path / "nowhere/x.png"))
    assert (result.code, "nowhere/x.png: No such file" in result.err) == (1, True)


def test_a_panel_fills_up_to_its_value_and_dots_its_threshold() -> None:
    lines = panel([0, 10], [0.0, 2.0], 20.0, width=30, height=4)
    low, high = scale([0.0, 2.0], 20.0)
    assert (low, high) == (0.0, 2.0)
    drawn = [line.split("┤")[1] for line in lines[:4]]
    assert [row.endswith("█") for row in drawn] == [False, True, True, True]
    assert drawn[1].startswith("┄") and lines[1].lstrip().startswith("20 ┤")
    assert "┄" not in drawn[0] + drawn[2] + drawn[3]
    assert lines[-1].split() == ["0", "10", "units"]


@pytest.mark.parametrize(("e", "reached"), [(19.99, False), (20.0, True), (20.01, True)])
def test_a_block_in_the_thresholds_row_says_that_it_was_reached(e: float, reached: bool) -> None:
    for height in (4, 8):
        for other in (-1.5, 0.0, 6.0):
            lines = panel([0, 5, 10], [0.0, other, math.log10(e)], 20.0, width=40, height=height)
            row = next(line for line in lines if line.lstrip().startswith("20 ┤"))
            assert (row[-1] in "▁▂▃▄▅▆▇█") is reached, (height, other)


def test_columns_take_the_value_in_force_at_their_edge() -> None:
    assert resample([0, 5, 10], [1.0, 2.0, 3.0], 4) == [1.0, 2.0, 2.0, 3.0]
    assert resample([0], [1.0], 2) == [1.0, 1.0]
    assert resample([4, 8], [1.0, 2.0], 4) == [None, 1.0, 1.0, 2.0]


def test_a_picture_holds_what_was_drawn() -> None:
    canvas = Canvas(40, 20)
    canvas.fill(2, 3, 5, 4, INK)
    canvas.fill(-5, -5, 6, 6, INK)
    canvas.fill(100, 100, 5, 5, INK)
    canvas.text(10, 5, "i", INK, scale=1)
    raw = canvas.png()
    chunks: dict[bytes, bytes] = {}
    at = 8
    while at < len(raw):
        size, kind = struct.unpack(">I4s", raw[at : at + 8])
        data = raw[at + 8 : at + 8 + size]
        assert zlib.crc32(kind + data) == struct.unpack(">I", raw[at + 8 + size : at + 12 + size])[0]
        chunks[kind] = data
        at += 12 + size
    assert struct.unpack(">II", chunks[b"IHDR"][:8]) == (40, 20)
    assert len(chunks[b"PLTE"]) == 3 * len(PALETTE)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert len(rows) == 20 * 41
    pixels = [rows[y * 41 + 1 : (y + 1) * 41] for y in range(20)]
    assert {(x, y) for y in range(20) for x in range(9) if pixels[y][x] == INK} == {
        (0, 0),
        *((x, y) for x in range(2, 7) for y in range(3, 7)),
    }
    assert canvas.pixel(12, 5) == INK and canvas.pixel(12, 6) != INK, "the dot of the i and the gap below it"


def test_an_unknown_id_is_one(shell: Shell, served: Served) -> None:
    result = shell("why", "nothing", "--home", str(served.home), "--json")
    assert (result.code, json.loads(result.out)["ok"]) == (1, False)
