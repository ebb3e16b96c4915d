"""No tracked file names one machine or one package index: both would fail on somebody else's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

# In pieces, so that this file does not name what it looks for.
INDEXES = ["pypi" + r"\.org", "python" + r"hosted\.org", "download" + r"\.pytorch\.org", "repo1?" + r"\.maven"]
HOMES = ["work", "root", "home/" + r"\w+", "Users/" + r"\w+", "opt/" + "wheels"]
HOSTS = re.compile("|".join(INDEXES))
PATHS = re.compile(r"(?<![\w.:/-])/(?:" + "|".join(HOMES) + r")(?:/|\b)")
LARGEST_BYTES = 300_000


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    root = Path(__file__).resolve().parents[2]
    listed = subprocess.run(["git", "-C", str(root), "ls-files", "-z"], capture_output=True, text=True, check=False)
    if listed.returncode != 0:  # an unpacked archive has no git: every file of it was tracked
        ignored = {".venvs", ".cache", ".git", "__pycache__", "build"}
        return [path for path in root.rglob("*") if path.is_file() and not ignored & set(path.relative_to(root).parts)]
    return [path for name in listed.stdout.split("\0") if name and (path := root / name).is_file()]


def lines_with(pattern: re.Pattern[str], files: list[Path]) -> list[str]:
    """``file:line: match`` of each line that matches; binary files are read as far as they are text."""
    return [
        f"{path}:{number}: {found.group(0)}"
        for path in files
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="ignore").splitlines(), 1)
        if (found := pattern.search(line))
    ]


def test_patterns_find_what_they_are_for() -> None:
    assert HOSTS.search("--index-url https://" + "pypi" + ".org/simple")
    assert PATHS.search("-e /" + "home/ashby/homeostat")
    assert not PATHS.search("GET /api/v1/work/root")


def test_no_package_index_is_named(tracked: list[Path]) -> None:
    assert not lines_with(HOSTS, tracked)


def test_no_path_of_one_machine(tracked: list[Path]) -> None:
    assert not lines_with(PATHS, tracked)


def test_locks_pin_each_package_and_nothing_else(repo_root: Path) -> None:
    """Name, exact version, marker: no options, no links, no local files."""
    pin = re.compile(r"[a-z0-9-]+==[\w.!+]+( ; .+)?")
    locks = sorted((repo_root / "locks").glob("*.txt"))
    assert [lock.name for lock in locks] == ["daemon.txt", "trainer.txt", "vllm.txt"]
    for lock in locks:
        lines = lock.read_text(encoding="utf-8").splitlines()
        assert len(lines) > 50
        assert not [line for line in lines if not pin.fullmatch(line)], lock.name


def test_no_large_file_is_tracked(tracked: list[Path]) -> None:
    assert not [f"{path} {path.stat().st_size}" for path in tracked if path.stat().st_size > LARGEST_BYTES]
