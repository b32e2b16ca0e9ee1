"""What the report of recovery says of limits that are not kept, and what it reads off a worker's words."""

import copy
import io
from collections.abc import Callable
from typing import Any

import pytest

from streams import progress
from streams.progress import Progress
from tests.benchmarks import recovery, workers

KEPT: dict[str, Any] = {
    "restarts": {
        "SIGKILL": {"first_s": 4.9, "every_partition_s": 5.2},
        "SIGTERM": {"first_s": 1.0, "every_partition_s": 1.0},
    },
    "moves": {
        "300": {
            "a second worker joins": {
                "stall_s": 2.9,
                "the_other_stopped_s": 0.4,
                "settled_after_s": 3.0,
                "requests": 9,
                "others_cores": 0.1,
                "the_other_restored_rows": 0,
            },
            "it is killed for good": {
                "stall_s": 11.0,
                "the_other_stopped_s": 0.4,
                "settled_after_s": 11.0,
                "requests": 9,
                "others_cores": 0.1,
                "the_other_restored_rows": 0,
            },
        }
    },
    "outcome": {"decisions": 900, "repeated_with_the_same_bytes": 3, "in_two_versions": 0, "state_verify": 0},
    "restored": {
        "small": {
            "rows": 400_000,
            "row_bytes": 800,
            "rows_per_s": 50_000,
            "mb_per_s": 40.0,
            "first_verdict_s": 9.0,
            "first_verdict_with_it_kept_s": 2.0,
        }
    },
}


def test_limits_that_are_kept_are_no_cause_for_a_sentence() -> None:
    assert recovery.missed(KEPT) == []
    shown = recovery.show(KEPT)
    assert "every row is right" in shown
    assert "NOT HELD" not in shown


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f["restarts"]["SIGKILL"].update(first_s=5.1), "SIGKILL: first verdict after 5.1 s"),
        (lambda f: f["moves"]["300"]["a second worker joins"].update(stall_s=3.1), "a second worker joins: 3.1 s"),
        (lambda f: f["outcome"].update(in_two_versions=1), "not what the journal gives"),
        (lambda f: f["outcome"].update(state_verify=1), "not what the journal gives"),
        (lambda f: f["restored"]["small"].update(rows_per_s=49_999), "small rows: 49,999 a second"),
    ],
    ids=["restart", "stall", "two versions", "rows", "rate"],
)
def test_a_limit_that_is_not_kept_is_said(spoil: Callable[[Any], None], said: str) -> None:
    found = copy.deepcopy(KEPT)
    spoil(found)
    (sentence,) = recovery.missed(found)
    assert said in sentence
    assert f"NOT HELD: {sentence}" in recovery.show(found)


def test_bars_are_found_as_a_worker_draws_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(progress, "_BAR_EVERY_S", 0.0)
    monkeypatch.setattr(progress.log, "isEnabledFor", lambda _: True)
    out = Terminal()
    drawn = Progress("restoring partitions [1]", 10_000, out)
    for rows in (2_000, 10_000):
        drawn.show(rows, rows)
    found = workers.bars_in(out.getvalue())
    assert [bar.partition("]")[2].split()[:2] for bar in found] == [["20", "%"], ["100", "%"]]
    assert workers.bars_in("restored 10000 rows in 0.1 s (100000/s)") == []
