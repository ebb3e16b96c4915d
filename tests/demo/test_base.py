"""The cache of the base, with a training program of a few lines in the trainer's place."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from daemon.demo.base import content_key, progress, trained_base
from daemon.demo.children import ChildFailed, Children

PROGRAM = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
if "fail" in pathlib.Path(sys.argv[sys.argv.index("--pairs") + 1]).read_text():
    sys.exit("no memory left")
out.mkdir(parents=True)
for step in (1, 2):
    print(json.dumps({"step": step, "steps": 2, "loss": 0.5}), flush=True)
print("a line that is not JSON", flush=True)
(out / "config.json").write_text("{}")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    package = tmp_path / "adapters" / "training"
    package.mkdir(parents=True)
    for folder in (package.parent, package):  # without these the installed packages would win
        (folder / "__init__.py").touch()
    (package / "tiny_base.py").write_text(PROGRAM)
    monkeypatch.setenv("HOMEOSTAT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "pairs").write_text("pairs")
    (tmp_path / "lines").write_text("lines")
    return tmp_path


def train(project: Path, seed: int = 1) -> tuple[Path, bool, list[float]]:
    told: list[float] = []
    pairs, lines = project / "pairs", project / "lines"
    base = asyncio.run(
        trained_base(Path(sys.executable), project, pairs, lines, seed, lambda done, _word: told.append(done))
    )
    return base.folder, base.cached, told


@pytest.mark.slow
def test_trained_once_then_taken_from_the_cache_until_something_changes(project: Path) -> None:
    folder, cached, told = train(project)
    assert (folder / "config.json").exists() and not cached and told == [0.5, 1.0]
    assert train(project) == (folder, True, [])
    assert train(project, seed=2)[0] != folder
    (project / "adapters/training/tiny_base.py").write_text(PROGRAM + "\n# another recipe\n")
    assert train(project)[1] is False


@pytest.mark.slow
def test_a_failed_training_leaves_nothing_and_says_why(project: Path) -> None:
    (project / "pairs").write_text("fail")
    with pytest.raises(ChildFailed, match="no memory left"):
        train(project)
    assert not list((project / "cache").glob("base-*/demo_base.json"))


def test_key_hangs_on_content_and_seed(project: Path) -> None:
    files = [project / "pairs", project / "lines"]
    assert content_key(files, 1) == content_key(files, 1) != content_key(files, 2)
    before = content_key(files, 1)
    (project / "pairs").write_text("other")
    assert content_key(files, 1) != before


@pytest.mark.parametrize("row", [[], {"step": 1}, {"loss": 2.0}, {"step": 1, "steps": 0}])
def test_other_lines_are_no_progress(row: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        progress(row)


@pytest.mark.slow
def test_children_are_watched_and_stopped(tmp_path: Path) -> None:
    async def main() -> None:
        children = Children(tmp_path)
        sleeper = await children.start("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"])
        children.check()
        broken = await children.start("broken", [sys.executable, "-c", "import sys; sys.exit('port taken')"])

        async def never() -> bool:
            return False

        with pytest.raises(ChildFailed, match="port taken"):
            await children.ready(broken, never, 20.0, "it listens")
        with pytest.raises(ChildFailed, match="broken ended with code 1"):
            children.check()
        await children.stop()
        assert not sleeper.running

    asyncio.run(main())
