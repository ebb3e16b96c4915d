"""Both arms against the time before the canary."""

from __future__ import annotations

import pytest

from deploy.fleet import Before, Newest, fleet_trouble
from deploy.rollout_config import RolloutConfig

CONFIG = RolloutConfig(fleet_window=100, kill_sessions=5)
BEFORE = Before(requests=2000, errors=20, corrupt=20)


def window(
    failed: int = 0, slow: int = 0, count: int = 100, sessions: int = 50, corrupt: int = 0
) -> tuple[Newest, ...]:
    return tuple(Newest(f"s{i % sessions}", i < failed, i < slow, i < corrupt) for i in range(count))


@pytest.mark.parametrize(
    ("seen", "reason"),
    [
        (window(), ""),
        (window(failed=8), ""),  # 3 x 1 % + 5 points are forgiven
        (window(failed=9), "fleet_errors"),
        (window(slow=50), ""),
        (window(slow=51), "fleet_slow"),
        (window(corrupt=8), ""),
        (window(corrupt=9), "fleet_corrupted"),
        (window(corrupt=90, sessions=4), ""),
        (window(failed=90, slow=90, sessions=4), ""),  # too few sessions to be the fleet
        (window(failed=90, slow=90, count=99), ""),  # not full yet
    ],
)
def test_gross_trouble_and_nothing_less(seen: tuple[Newest, ...], reason: str) -> None:
    assert fleet_trouble(BEFORE, seen, CONFIG) == reason


def test_without_a_time_before_nothing_is_compared() -> None:
    assert fleet_trouble(None, window(failed=90), CONFIG) == ""
    assert fleet_trouble(Before(199, 0), window(failed=90), CONFIG) == ""


def test_an_error_rate_that_was_high_before_is_no_news() -> None:
    assert fleet_trouble(Before(1000, 200), window(failed=60), CONFIG) == ""


def test_a_bound_that_was_missed_before_is_no_news() -> None:
    assert fleet_trouble(Before(1000, 0, slow=600), window(slow=90), CONFIG) == ""
    assert fleet_trouble(Before(1000, 0, slow=300), window(slow=61), CONFIG) == "fleet_slow"


def test_corruption_that_was_there_before_or_was_not_counted_before_is_no_news() -> None:
    assert fleet_trouble(Before(1000, 0, corrupt=200), window(corrupt=60), CONFIG) == ""
    assert fleet_trouble(Before(1000, 0), window(corrupt=90), CONFIG) == ""


def test_what_is_stored_comes_back() -> None:
    assert Before.from_dict({"requests": 7, "errors": 1}) == Before(7, 1)
    assert Before.from_dict(Before(7, 1).to_dict()) == Before(7, 1)
    assert Before.from_dict(BEFORE.to_dict()) == BEFORE and Before.from_dict(None) is None
