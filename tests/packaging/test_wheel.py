"""What the wheel holds: the five rooms with what operators apply, and never the tests."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SHIPPED = {"daemon", "deploy", "adapters", "monitors", "streams"}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The file names in a wheel that was built from this tree."""
    root = Path(__file__).resolve().parents[2]
    uv = shutil.which("uv") or str(root / ".venvs/uv/bin/uv")
    out = tmp_path_factory.mktemp("wheel")
    build = [
        uv,
        "build",
        "--wheel",
        "--quiet",
        "--no-python-downloads",
        "--python",
        sys.executable,
        "--out-dir",
        str(out),
    ]
    built = subprocess.run([*build, str(root)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.mark.slow
def test_only_the_rooms_are_shipped(wheel_names: list[str]) -> None:
    tops = {name.split("/")[0] for name in wheel_names}
    assert {top for top in tops if not top.endswith(".dist-info")} == SHIPPED
    assert not [name for name in wheel_names if "test" in Path(name).name.split("_")]


@pytest.mark.slow
def test_what_operators_apply_is_shipped(wheel_names: list[str]) -> None:
    expected = {"deploy/kafka/kafka.sh", "deploy/kafka/pom.xml", "deploy/vllm/overrides.txt", "deploy/vllm/launch.py"}
    assert expected <= set(wheel_names)
    assert [name for name in wheel_names if name.endswith("licenses/LICENSE")]
