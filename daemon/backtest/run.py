"""A backtest from a config to its document, in a temporary folder that is gone afterwards."""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from daemon.backtest.recorded import copy_store
from daemon.backtest.replay import Replay, Window
from daemon.backtest.report import report
from daemon.config import Config
from daemon.faults import ConfigError
from daemon.store import Store, exchanges


def run_backtest(config: Config, window: Window) -> dict[str, Any]:
    """Replay ``window`` under ``config``. Raises ConfigError where nothing was recorded in it, MachineFault."""
    if not window.from_s < window.until_s:
        raise ConfigError("--from must be before --to")
    with tempfile.TemporaryDirectory(prefix="homeostat-backtest-") as name:
        folder = Path(name)
        with (
            closing(copy_store(config.store_url, folder)) as recorded,
            closing(Store.open(f"sqlite:///{folder / 'scratch.db'}", "normal")) as scratch,
        ):
            _must_hold(recorded, config.deployment.name, window)
            replay = Replay(config, recorded, scratch, folder, window)
            replay.run()
            return report(replay)


def _must_hold(recorded: Store, deployment: str, window: Window) -> None:
    with recorded.read() as read:
        if not exchanges.since(read, deployment, window.from_s, window.until_s, 1):
            raise ConfigError(f"nothing of deployment {deployment} was recorded between --from and --to")
