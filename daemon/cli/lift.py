"""``homeostat lift``: what all promotions together are worth."""

from __future__ import annotations

from datetime import datetime

from daemon.cli import output
from daemon.cli.looks import client
from daemon.cli.options import ConfigOption, HomeOption, JsonOption, ReasonOption


def lift(
    config: ConfigOption = None, home: HomeOption = None, as_json: JsonOption = False, reason: ReasonOption = ""
) -> None:
    """The cumulative effect of all promotions against the standing holdback, valid whenever one looks."""
    del reason
    found = client(config, home).get("/api/v1/lift")
    output.show(found, as_json, sentence(found))


def sentence(found: output.Json) -> str:
    """The answer for a person; points are hundredths of a reward."""
    since = datetime.fromtimestamp(found["since"]).strftime("%Y-%m-%d")
    until = "" if found["until"] is None else f" until {datetime.fromtimestamp(found['until']).strftime('%Y-%m-%d')}"
    sample = f"{found['units']} units, {found['units_held_back']} of them held back on {found['anchor']}"
    if found["effect"] is None:
        return f"nothing to compare yet: since {since}{until} {sample}"
    bounds = f"[{100 * found['low']:+.1f}, {100 * found['high']:+.1f}]"
    more = "" if found["complete"] else "; the first units alone"
    return (
        f"{100 * found['effect']:+.1f} points {bounds} since {since}{until}, {sample} "
        f"({100 * found['level']:g} % at all instants together{more})"
    )
