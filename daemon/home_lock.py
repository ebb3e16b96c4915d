"""One daemon a home folder: two writers of one store and one route file would fight."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from daemon.faults import MachineFault


class HomeLock:
    """Held while the process lives; the kernel lets go of it however the process ends."""

    def __init__(self, home: Path) -> None:
        """Take it. Raises MachineFault when another daemon holds it or the folder may not be written."""
        path = home / "daemon.lock"
        try:
            home.mkdir(parents=True, exist_ok=True)
            if not os.access(
                home, os.W_OK | os.X_OK
            ):  # an old lock opens all the same, and a route could not be renamed
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise MachineFault(
                f"home: cannot write to {home} ({error.strerror}): give this user write access, "
                "or set `home` to another folder"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(self._file, 20, 0).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise MachineFault(
                f"home: another homeostat (process {holder}) works in {home}: stop it, or give this one another home"
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let go."""
        os.close(self._file)
