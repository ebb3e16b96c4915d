"""The rule of conftest: a test whose needs are not met fails, and only ``-m`` leaves out what cannot be imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import module_marks


@pytest.mark.parametrize(
    ("source", "marks"),
    [
        ("pytestmark = pytest.mark.trainer\n", {"trainer"}),
        ("pytestmark = [pytest.mark.trainer, pytest.mark.slow]\n", {"trainer", "slow"}),
        ("pytestmark = [\n    pytest.mark.kafka,\n    pytest.mark.e2e,\n]\n", {"kafka", "e2e"}),
        ("@pytest.mark.trainer\ndef test_one() -> None: ...\n", set[str]()),
        ("'''pytestmark is not set'''\n", set[str]()),
    ],
)
def test_module_marks_are_read_from_the_source(source: str, marks: set[str]) -> None:
    assert module_marks(source) == marks


def run_pytest(folder: Path, *args: str, path: str | None = None) -> subprocess.CompletedProcess[str]:
    """pytest on a folder of its own, with the repository's conftest and settings; ``path`` replaces PATH."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "pyproject.toml", str(folder), *args]
    env = {**os.environ, "PATH": path} if path is not None else None
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=root, env=env)


@pytest.mark.slow
def test_a_module_is_not_imported_where_its_marker_is_deselected(tmp_path: Path) -> None:
    header = "import a_module_that_nobody_has\nimport pytest\npytestmark = pytest.mark.trainer\n"
    (tmp_path / "test_torch.py").write_text(header + "def test_it(): pass\n")
    (tmp_path / "test_plain.py").write_text("def test_it(): pass\n")
    assert "1 passed" in run_pytest(tmp_path, "-m", "not trainer").stdout
    assert "a_module_that_nobody_has" in run_pytest(tmp_path).stdout


@pytest.mark.slow
def test_a_test_whose_needs_are_not_met_fails(tmp_path: Path) -> None:
    (tmp_path / "test_broker.py").write_text("import pytest\n@pytest.mark.kafka\ndef test_it(): pass\n")
    done = run_pytest(tmp_path, path=str(tmp_path))
    assert done.returncode == 1
    assert "marked kafka, but java is not on PATH" in done.stdout
