"""Plain top-level names are a decision; these tests are what makes it safe."""

from __future__ import annotations

import importlib
import tomllib
from importlib.metadata import metadata, packages_distributions
from pathlib import Path

import pytest

ROOMS = ("daemon", "deploy", "adapters", "monitors", "streams")


@pytest.mark.parametrize("room", ROOMS)
def test_room_belongs_to_no_other_distribution(room: str, repo_root: Path) -> None:
    owners = set(packages_distributions().get(room, ()))
    assert owners <= {"homeostat"}, f"{room} is also installed by {owners - {'homeostat'}}"
    package = importlib.import_module(room)
    assert package.__file__ is not None
    assert Path(package.__file__) == repo_root / room / "__init__.py"


def test_no_locked_distribution_installs_a_room() -> None:
    """The editable install lists no top-level names, so a second owner would show as the only one."""
    claimed = {name: owners for name, owners in packages_distributions().items() if name in (*ROOMS, "tests")}
    assert all(set(owners) == {"homeostat"} for owners in claimed.values()), claimed


def test_upload_to_an_index_is_refused_by_classifier(repo_root: Path) -> None:
    declared = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "Private :: Do Not Upload" in declared["classifiers"]
    assert "Private :: Do Not Upload" in (metadata("homeostat").get_all("Classifier") or [])
    assert metadata("homeostat")["License-Expression"] == "Apache-2.0"


def test_every_dependency_has_a_floor(repo_root: Path) -> None:
    project = tomllib.loads((repo_root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for group in project["optional-dependencies"].values() for line in group]
    bare = [line for line in [*project["dependencies"], *extras] if ">=" not in line and "homeostat[" not in line]
    assert not bare, f"no lower bound: {bare}"
