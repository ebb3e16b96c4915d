"""The trainer as a process of its own, without torch: `python -m tests.adapters.trainer_process HOME URL MODE`.

MODE: `train` does its steps at once, `hang` ends no step.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from adapters.produce import Progress, Task, Trained
from adapters.trainer import TrainerOptions, run_trainer
from adapters.trainer_api import HttpTrainerApi
from tests.adapters.fake_training import train


def hang(task: Task, progress: Progress) -> Trained:
    """A step that takes for ever."""
    threading.Event().wait()
    return train(task, progress)


if __name__ == "__main__":
    home, url, mode = sys.argv[1:]
    training = {"train": train, "hang": hang}[mode]
    options = TrainerOptions(poll_s=0.02, heartbeat_s=0.05, backoff_first_s=0.02, backoff_max_s=0.1, grace_s=1.0)
    sys.exit(run_trainer(HttpTrainerApi(url, "token"), Path(home) / "artifacts", training, "worker", options))
