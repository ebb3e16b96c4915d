"""A real Kafka broker for tests: started by the script that operators use, killed and restarted at will."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from daemon.demo.ports import free_port

SCRIPT = Path(__file__).resolve().parent.parent / "deploy" / "kafka" / "kafka.sh"


class Broker:
    """One node on fixed ports, so that a restart comes back at the same address with the same data."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self._controller_port = free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start and wait until it serves."""
        command = ["sh", str(SCRIPT), "start", str(self.folder), str(self.port), str(self._controller_port)]
        subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=300)

    def stop(self) -> None:
        """Clean stop; harmless when it is not running."""
        subprocess.run(["sh", str(SCRIPT), "stop", str(self.folder)], check=True, stdout=subprocess.PIPE, timeout=60)

    def kill(self) -> None:
        """SIGKILL, as a crash does it."""
        os.kill(int((self.folder / "broker.pid").read_text()), signal.SIGKILL)
