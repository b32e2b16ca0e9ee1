"""How the runner takes faults in turn, and how a process is made to fail from within: no broker here."""

import json
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from deploy.local.ports import pick_free
from deploy.settings import LOOPBACK, load_settings
from tests.faults import __main__ as runner
from tests.faults.__main__ import Outcome, per_ground, share
from tests.faults.cast import RIGGED, Cast
from tests.faults.ground import eventually
from tests.faults.injections import FAULTS, Fault
from tests.faults.rigged import STEPS, Order, wrap
from tests.faults.run import Plan, Run, Tally
from tests.faults.stage import NotInjectedError, Stage
from tests.faults.table import Row, total


class Calm:
    """Stands in for a stage on which everything is got over at once, or never."""

    def __init__(self, *, recovers: bool = True) -> None:
        self.over = threading.Event()
        self.load = SimpleNamespace(label="")
        self.chance = random.Random(0)
        self.removed = 0
        self._recovers = recovers

    def wait(self, _least_s: float, _most_s: float) -> None:
        return

    def recovered(self, _within_s: float) -> bool:
        return self._recovers

    def remove_state(self) -> None:
        self.removed += 1

    def last_words(self) -> str:
        return "intake (runs): in close"

    def apart(self) -> "Calm":
        return self


def fault(name: str, seen: list[str], *, beside: bool = False, fails: bool = False) -> Fault:
    def inject(_stage: Stage) -> None:
        seen.append(name)
        if fails:
            raise NotInjectedError

    return Fault(name, name, inject, beside=beside)


def inject(faults: list[Fault], plan: Plan, on: Calm | None = None) -> Tally:
    tally = Tally()
    Run(cast(Stage, on or Calm()), faults, plan, 0, tally, lambda _: None).inject_all()
    return tally


def test_each_fault_has_its_number_even_when_there_is_no_time_left() -> None:
    seen: list[str] = []
    tally = inject([fault("a", seen), fault("b", seen), fault("c", seen, beside=True)], Plan(3, 0.0, must=True))
    assert tally.injections == {"a": 3, "b": 3, "c": 3}
    assert len(tally.spans["c"]) == 3
    assert sorted(seen) == sorted("abc" * 3)


def test_without_a_number_nothing_begins_after_the_end() -> None:
    seen: list[str] = []
    assert not inject([fault("a", seen)], Plan(1, -1.0, must=False)).injections
    assert seen == []


def test_faults_go_round_until_the_time_is_over_and_those_that_take_long_sit_rounds_out() -> None:
    seen: list[str] = []

    def take_long(_stage: Stage) -> None:
        seen.append("long")
        time.sleep(0.02)

    faults = [fault("a", seen), fault("b", seen), Fault("long", "long", take_long)]
    inject(faults, Plan(1, 0.5, must=False))
    assert seen.count("a") > 2 * seen.count("long") > 0
    assert seen.count("b") > 2 * seen.count("long")


def test_a_fault_that_does_not_come_about_is_not_counted_and_given_up() -> None:
    seen: list[str] = []
    tally = inject([fault("a", seen, fails=True), fault("b", seen)], Plan(1, 0.0, must=True))
    assert tally.injections == {"b": 1}
    assert tally.vain["a"] == 3


def test_what_is_not_got_over_is_told_and_ends_the_injections() -> None:
    seen: list[str] = []
    stuck = Calm(recovers=False)
    tally = inject([fault("a", seen)], Plan(5, 0.0, must=True), stuck)
    assert (seen, stuck.removed, tally.rescued) == (["a"], 1, {"a": 1})
    assert tally.trouble == ["a: nothing is decided any more; injections ended there\nintake (runs): in close"]


def test_grounds_share_the_time_so_that_starts_checks_and_later_grounds_have_theirs() -> None:
    three = [fault for fault in FAULTS if fault.brokers == 3]
    one = [fault for fault in FAULTS if fault.brokers == 1]
    first = share(600, three, one)
    assert 45 < first < 90
    last = share(600 - first - 30 - 60, one, [])
    assert 250 < last < 400
    assert share(10, three, one) == 0


def test_ctrl_c_while_it_checks_lets_the_check_come_to_its_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def check(*_: object) -> dict[str, object]:
        signal.raise_signal(signal.SIGINT)
        return {"counts": {}}

    monkeypatch.setattr(runner, "_check", check)
    on = SimpleNamespace(
        begin=lambda: None, heal=lambda: None, quieten=list, load=SimpleNamespace(label=""), interrupted=False,
        over=threading.Event(), chance=random.Random(0),
    )  # fmt: skip
    assert runner._run(cast(Stage, on), tmp_path, [], Plan(1, 0.0, must=False), 0, Tally(), verifying=False)
    assert on.interrupted  # and no ground comes after it


def _ground(injections: int) -> Outcome:
    row = Row("kill: the worker is killed", injections, 7, 1.0, 0, 0, 0)
    return Outcome(rows=[row], counts=Counter(requests=7))


def _main_on(grounds: list[Outcome | BaseException], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a run of ten injections of one fault, on two grounds that come to this."""
    coming = iter(grounds)

    def on_ground(*_: object) -> Outcome:
        if isinstance(found := next(coming), BaseException):
            raise found
        return found

    monkeypatch.setattr(runner, "_on_ground", on_ground)
    return runner.main(["--only", "kill", "--injections", "10"])


def test_a_run_that_injected_nothing_has_not_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main_on([_ground(0), _ground(0)], monkeypatch) == 1
    assert "FAILED: 0 injections" in capsys.readouterr().out
    assert _main_on([_ground(1), _ground(0)], monkeypatch) == 0


def test_ctrl_c_while_a_ground_comes_up_loses_nothing_of_those_before_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main_on([_ground(5), KeyboardInterrupt()], monkeypatch) == 1
    told = capsys.readouterr().out
    assert "was given up, unchecked" in told
    assert "FAILED: 5 injections of 1 faults, 7 requests, findings: none" in told


def test_many_injections_are_spread_over_grounds_and_added_up() -> None:
    assert per_ground(20, must=True) == [5, 5, 5, 5]
    assert per_ground(7, must=True) == [5, 2]
    assert per_ground(1, must=False) == [1]
    kill, pause, cut = (
        Row("kill", 5, 400, 2.5, 0, 0, 0),
        Row("pause", 5, 90, None, 0, 1, 0),
        Row("cut", 5, 9, 1.0, 0, 0, 0),
    )
    unchecked, not_reached = Row("cut", 1, 1, 2.0, None, None, None), Row("pause", 0, 0, None, None, None, None)
    again = [Row("kill", 2, 100, 3.5, 1, 0, 0, rescued=1), not_reached, unchecked]
    assert total([kill, pause, cut, *again]) == [
        Row("kill", 7, 500, 3.5, 1, 0, 0, rescued=1),
        pause,
        Row("cut", 6, 10, 2.0, None, None, None),
    ]


def test_a_rigged_process_kills_itself_when_it_comes_to_a_step_so_many_times(tmp_path: Path) -> None:
    order = tmp_path / "order"
    order.write_text(json.dumps({"stop": "sent", "after": 3}))
    script = (
        "from pathlib import Path; from tests.faults.rigged import Order\n"
        f"order = Order(Path({str(order)!r})); order.take()\n"
        "for step in ('sent', 'disk', 'sent', 'disk', 'sent', 'disk'): print(step, flush=True); order.reached(step)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == -9
    assert ended.stdout.split() == ["sent", "disk", "sent", "disk", "sent"]
    assert not order.exists()


@pytest.mark.parametrize("by_s", [3_600.0, -3_600.0])
def test_a_wrong_clock_is_wrong_for_all_that_ask_python_and_stays_ordered(
    tmp_path: Path, by_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("time", "time_ns"):
        monkeypatch.setattr(time, name, getattr(time, name))
    file = tmp_path / "order"
    order, before = Order(file), time.time()
    order.put_clock_wrong()
    assert abs(time.time() - before) < 60
    file.write_text(json.dumps({"clock_s": by_s}))
    order.take()
    assert abs(time.time() - before - by_s) < 60
    assert abs(time.time_ns() / 1e9 - before - by_s) < 60
    assert file.exists()


def test_a_rigged_process_tells_where_it_is(tmp_path: Path) -> None:
    nobody = load_settings(kafka_bootstrap=f"{LOOPBACK}:{pick_free(1)[0]}", registry_url=f"http://{LOOPBACK}:1")
    cast = Cast(tmp_path)
    try:
        member = cast.enter("intake", nobody, RIGGED, str(tmp_path / "order"), "intake")
        assert member.is_rigged

        def tells() -> bool:
            # Before it has got so far, the signal ends it; then it is started again.
            if "hread 0x" not in member.said():
                time.sleep(0.5)
                member.send(signal.SIGUSR2)
            return "deploy/cli.py" in member.said()

        assert eventually(tells, 60)
        assert cast.members() == {"intake": member}
        words = Stage.last_words(SimpleNamespace(cast=cast))
        assert words.startswith("intake (")
        assert 'File "' in words  # its first lines are cut off where it is deep in something
    finally:
        cast.leave("intake", signal.SIGKILL)
        cast.close()


def test_a_wrapped_method_does_what_it_did() -> None:
    class Adder:
        def add(self, number: int, *, twice: bool = False) -> int:
            return 2 * number if twice else number

    told: list[object] = []
    wrap(Adder, "add", before=lambda number, **named: told.append((number, named)), after=lambda: told.append("after"))
    assert Adder().add(4, twice=True) == 8
    assert told == [(4, {"twice": True}), "after"]


def test_there_is_a_fault_for_each_step() -> None:
    assert {f"kill-{step}" for step in STEPS} <= {fault.name for fault in FAULTS}
