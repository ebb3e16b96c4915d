"""``homeostat lift`` against a running API."""

from __future__ import annotations

import json

from daemon.store import Store
from tests.daemon.cli.shell import Served, Shell
from tests.daemon.test_lift import hold, record


def test_the_command_says_it_in_one_line(shell: Shell, served: Served, store: Store) -> None:
    home = ("--home", str(served.home))
    nothing = shell("lift", *home)
    assert (nothing.code, "set holdback.share above 0" in nothing.err) == (4, True)
    hold(store, 2000.0)
    assert "nothing to compare yet" in shell("lift", *home).out
    record(store, 400, served_up=0.9, held_up=0.5)
    found = json.loads(shell("lift", *home, "--json").out)
    assert found["units"] > 100
    text = shell("lift", *home).out
    assert text.startswith(f"{100 * found['effect']:+.1f} points [")
    assert "of them held back on support-a" in text
