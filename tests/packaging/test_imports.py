"""What importing a module drags in, seen from a fresh interpreter: contracts read source, this reads sys.modules."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def loaded_after(statement: str, root: Path, python: str = sys.executable) -> set[str]:
    """The top-level and second-level names in sys.modules of a fresh interpreter that ran ``statement``."""
    script = f"{statement}\nimport sys\nprint(' '.join({{'.'.join(m.split('.')[:2]) for m in sys.modules}}))"
    done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.slow
def test_gateway_imports_without_what_vllm_lacks(repo_root: Path) -> None:
    loaded = loaded_after("import deploy.gateway.app", repo_root)
    assert "deploy.gateway" in loaded
    assert not loaded & {"torch", "transformers", "peft", "sqlalchemy", "river", "scipy", "sklearn", "numpy", "daemon"}


@pytest.mark.vllm
@pytest.mark.slow
def test_gateway_imports_in_the_environment_of_vllm(repo_root: Path) -> None:
    loaded = loaded_after("import deploy.gateway.app", repo_root, str(repo_root / ".venvs/vllm/bin/python"))
    assert "deploy.gateway" in loaded


@pytest.mark.slow
def test_agent_needs_neither_torch_nor_the_store(repo_root: Path) -> None:
    loaded = loaded_after("import deploy.agent", repo_root)
    assert "deploy.agent" in loaded
    assert not loaded & {"torch", "transformers", "peft", "sqlalchemy"}


@pytest.mark.slow
def test_command_line_loads_the_demo_only_when_asked(repo_root: Path) -> None:
    loaded = loaded_after("import daemon.cli.main", repo_root)
    assert "daemon.cli" in loaded
    assert not loaded & {"daemon.demo", "torch", "sqlalchemy", "river", "sklearn"}
