# pyright: basic
"""One toy base for all training tests: it is read only."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a saved toy base."""
    torch = pytest.importorskip("torch")
    from adapters.training.tiny_model import save
    from tests.adapters.training.toy import toy_base

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("base")
    save(*toy_base(), folder)
    return folder
