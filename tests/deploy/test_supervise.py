"""`--supervise`: real children crash, end, hang and are told to end; nobody is left behind."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.settings import Settings
from deploy.supervisor import Patience
from tests.topology.worker_process import WorkerProcess, eventually

ROOT = Path(__file__).parents[2]
SUPERVISE = """
import sys
from deploy.supervisor import Patience, Supervisor
patience = Patience(**eval(sys.argv[1]))
has_spare = "spare_after_s" in sys.argv[1]
sys.exit(Supervisor([sys.executable, "-c", sys.argv[2], *sys.argv[3:]], patience, has_spare=has_spare).run())
"""
CRASH_TWICE = """
import pathlib, sys
runs = pathlib.Path(sys.argv[1]); runs.write_text(runs.read_text() + "." if runs.exists() else ".")
print("warning: careful", file=sys.stderr)
if len(runs.read_text()) < 3: sys.exit("mandate: no \\x1b[31mbroker. Check it.")
"""
OBEY = "import signal, sys, time; signal.signal({0}, lambda *_: sys.exit({1})); print('up', flush=True); time.sleep(60)"
WAIT = """
import os, sys, time
if not sys.stdin.readline(): sys.exit("nobody needs me")
print(os.getpid(), flush=True); time.sleep(60)
"""
PROMPT = {"first_pause_s": 0.01}


@contextmanager
def supervisor(child: str, *arguments: str, **patience: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor process with a child of this Python code."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, repr({**PROMPT, **patience}), child, *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def ended(child: str, *arguments: str, **patience: Any) -> tuple[int, list[str]]:
    """Exit code and stderr of a supervisor that ends by itself."""
    with supervisor(child, *arguments, **patience) as process:
        _, errors = process.communicate(timeout=60)
        return process.returncode, errors.decode().splitlines()


def told(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith("mandate supervisor: ")]


def child_of(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The child, once it has said that it is up."""
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    (child,) = psutil.Process(process.pid).children()
    return child


def gone(child: psutil.Process) -> bool:
    return not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


# --- crashes
def test_a_child_that_crashes_is_started_again_and_each_restart_is_one_line(tmp_path: Path) -> None:
    code, lines = ended(CRASH_TWICE, str(tmp_path / "runs"))
    assert code == 0
    assert told(lines) == [
        "mandate supervisor: it ended with exit code 1: no  [31mbroker. Check it. Start 2 at once.",
        "mandate supervisor: it ended with exit code 1: no  [31mbroker. Check it. Start 3 in 0.01 s.",
    ]
    assert lines.count("warning: careful") == 3, "what the child says passes through"


def test_the_first_crash_costs_no_pause_and_the_pauses_after_it_double_up_to_a_bound() -> None:
    assert [Patience().pause_s(crash) for crash in range(1, 9)] == [0, 1, 2, 4, 8, 16, 30, 30]


def test_a_child_that_only_crashes_is_left_with_its_own_exit_code() -> None:
    code, lines = ended("import sys; print('mandate: broker gone', file=sys.stderr); sys.exit(70)", crashes=3)
    assert code == 70
    first, second, last = told(lines)
    assert first.endswith("Start 2 at once.")
    assert second.endswith("Start 3 in 0.01 s.")
    assert "it ended 3 times within 600 s and is left, the last time with exit code 70: broker gone. Do what" in last


def test_crashes_of_long_ago_are_not_counted(tmp_path: Path) -> None:
    code, lines = ended(CRASH_TWICE, str(tmp_path / "runs"), crashes=2, within_s=0.0)
    assert code == 0
    assert [line.rsplit(" Start ", 1)[1] for line in told(lines)] == ["2 at once."] * 2


@pytest.mark.parametrize("code", [0, 2, 65])
def test_an_end_in_peace_and_what_a_restart_can_not_help_are_passed_on_at_once(code: int) -> None:
    assert ended(f"import sys; sys.exit({code})") == (code, [])


def test_a_child_that_is_killed_is_started_again() -> None:
    code, lines = ended("import os; os.kill(os.getpid(), 9)", crashes=2)
    assert code == 128 + 9
    assert "it ended with signal 9: it said nothing. Start 2" in lines[0]


# --- signals
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_passed_on_and_the_childs_end_waited_for(number: int) -> None:
    with supervisor(OBEY.format(number, 7)) as process:
        child = child_of(process)
        process.send_signal(number)
        assert process.wait(20) == 7
        assert gone(child)


def test_a_child_that_ends_by_the_signal_itself_ended_as_asked() -> None:
    with supervisor("import time; print('up', flush=True); time.sleep(60)") as process:
        child_of(process)
        process.terminate()
        assert process.wait(20) == 0


def test_a_child_that_does_not_heed_is_killed_in_the_end() -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    with supervisor(deaf, stop_within_s=1.0) as process:
        child = child_of(process)
        process.terminate()
        assert process.wait(20) == 128 + 9
        assert gone(child)


def test_a_signal_ends_a_pause() -> None:
    with supervisor("import sys; print('up', flush=True); sys.exit(70)", first_pause_s=30.0) as process:
        assert process.stderr is not None
        assert b"Start 2 at once." in process.stderr.readline()
        assert b"Start 3 in 30 s." in process.stderr.readline()
        process.terminate()
        assert process.wait(5) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_nobody_is_left_when_the_supervisor_is_killed() -> None:
    with supervisor(OBEY.format(int(signal.SIGTERM), 0)) as process:
        child = child_of(process)
        process.kill()
        eventually(lambda: gone(child), 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_a_child_whose_parent_is_gone_already_does_not_begin() -> None:
    command = [sys.executable, "-m", "deploy.leash", "1", sys.executable, "-c", "print('up')"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (1, "")
    assert "ended before its child began" in done.stderr


# --- spares
def begun(process: subprocess.Popen[bytes]) -> psutil.Process:
    """The child that says that it was told to begin."""
    assert process.stdout is not None
    return psutil.Process(int(process.stdout.readline()))


def spare_of(process: subprocess.Popen[bytes], child: psutil.Process) -> psutil.Process:
    """The other child, once it is there and waits."""
    (spare,) = eventually(lambda: [one for one in psutil.Process(process.pid).children() if one.pid != child.pid])
    eventually(lambda: "sleep(60)" in "".join(spare.cmdline()), 10)  # it is no longer the leash
    return spare


def test_a_spare_takes_over_from_a_child_that_crashed_and_gets_one_itself() -> None:
    with supervisor(WAIT, spare_after_s=0.1) as process:
        child = begun(process)
        spare = spare_of(process, child)
        child.kill()
        assert begun(process) == spare
        assert spare_of(process, spare) not in (child, spare)


def test_what_crashes_at_once_has_no_spare() -> None:
    crash = "import os, sys; sys.stdin.readline(); print(os.getpid(), flush=True); sys.stdin.readline(); sys.exit(70)"
    with supervisor(crash, spare_after_s=30, crashes=3) as process:
        assert len({begun(process).pid for _ in range(3)}) == 3
        assert process.wait(20) == 70
        assert process.stderr is not None
        assert b"nobody needs me" not in process.stderr.read()


def test_a_spare_that_ended_is_not_counted_on() -> None:
    with supervisor(WAIT, spare_after_s=0.1) as process:
        child = begun(process)
        spare = spare_of(process, child)
        spare.kill()
        eventually(lambda: gone(spare), 10)
        child.kill()
        assert begun(process) not in (child, spare)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_child_and_spare_end_when_told_to(number: int) -> None:
    with supervisor(WAIT, spare_after_s=0.1) as process:
        child = begun(process)
        spare = spare_of(process, child)
        process.send_signal(number)
        assert process.wait(20) in (0, 1)  # as the child ends by it: a Ctrl-C is an exception to it
        assert gone(child)
        assert gone(spare)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a child with its parent")
def test_no_spare_is_left_when_the_supervisor_is_killed() -> None:
    with supervisor(WAIT, spare_after_s=0.1) as process:
        child = begun(process)
        spare = spare_of(process, child)
        process.kill()
        eventually(lambda: gone(child) and gone(spare), 10)


@pytest.mark.parametrize(
    # Of what it names itself the interpreter tells no time: `streams.joining` is for `streams.app` alone.
    ("command", "needs"),
    [("worker", {"streams.joining", "processors.draft", "rocksdict"}), ("intake", {"streams.intake"})],
)
def test_a_spare_loads_what_its_command_needs_and_ends_unheard_when_it_is_not_needed(
    command: str, needs: set[str]
) -> None:
    said = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deploy.spare", command],
        cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (said.returncode, said.stdout) == (0, "")
    lines = said.stderr.splitlines()
    assert all(line.startswith("import time:") for line in lines), "imports, and nothing else"
    loaded = {line.rpartition("|")[2].strip() for line in lines}
    assert loaded >= needs | {"typer", "confluent_kafka", "fastavro"}


# --- SIGHUP
def test_a_child_told_by_sighup_is_started_anew_and_not_from_the_spare(tmp_path: Path) -> None:
    obey = "import signal, sys; signal.signal(signal.SIGHUP, lambda *_: sys.exit(0))\n" + WAIT
    with supervisor(obey, spare_after_s=0.1, crashes=1) as process:
        child = begun(process)
        spare = spare_of(process, child)
        process.send_signal(signal.SIGHUP)
        assert begun(process) not in (child, spare)
        assert gone(spare)
        assert process.poll() is None, "it is no crash"
        process.terminate()
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert b"it ended as told (SIGHUP) and is started anew.\n" in process.stderr.read()


def test_a_child_that_crashes_when_told_by_sighup_crashed() -> None:
    crash = "import signal, sys; signal.signal(signal.SIGHUP, lambda *_: sys.exit(70))\n" + WAIT
    with supervisor(crash, spare_after_s=30, crashes=1) as process:
        begun(process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 70


def test_a_terminal_that_is_closed_ends_child_and_supervisor() -> None:
    ours, theirs = pty.openpty()
    code = "import time; print('up', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, repr(PROMPT), code],
        cwd=ROOT, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        os.close(theirs)
        child = child_of(process)
        process.send_signal(signal.SIGHUP)
        assert process.wait(20) == 0
        assert gone(child)
        os.close(ours)


def test_nohup_stays_in_force() -> None:
    code = "import os, signal, sys, time; print('up', flush=True); time.sleep(60)"
    shell = ["sh", "-c", 'trap "" HUP; exec "$@"', "sh"]
    with subprocess.Popen(
        [*shell, sys.executable, "-c", SUPERVISE, repr(PROMPT), code],
        cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        child = child_of(process)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert not gone(child)
        process.terminate()
        assert process.wait(20) == 0


# --- the real commands
@pytest.mark.parametrize("command", ["worker", "intake", "sink crm", "sink audit"])
def test_wrong_settings_end_the_supervisor_of_every_command(command: str, tmp_path: Path) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").write_text("raise SystemExit('not ours')")
    done = subprocess.run(
        [Path(sys.executable).parent / "mandate", *command.split(), "--supervise"],
        env={**os.environ, "MANDATE_PARTITIONS": "many"}, cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.splitlines() == [done.stderr.strip()], "one line, and no restart"
    assert done.stderr.startswith("mandate: Wrong value for MANDATE_PARTITIONS")


def _two(children: list[psutil.Process]) -> list[psutil.Process]:
    """Both of them, the older first; nobody while there is only one."""
    return sorted(children, key=lambda child: child.create_time()) if len(children) == 2 else []


@pytest.mark.broker
@pytest.mark.faults
def test_a_worker_that_is_killed_is_back_with_its_partitions(stack: Settings, tmp_path: Path) -> None:
    settings = stack.model_copy(update={"state_dir": tmp_path / "state"})
    running = WorkerProcess(settings, tmp_path, ("worker", "--supervise"))
    try:
        every = list(range(settings.partitions))
        whole: Callable[[list[int]], bool] = lambda partitions: partitions == every  # noqa: E731
        running.wait_ready(whole)
        supervising = psutil.Process(running.process.pid)
        child, spare = eventually(lambda: _two(supervising.children()), 40)
        child.send_signal(signal.SIGKILL)
        eventually(lambda: len(running.announcements()) > 1 and whole(running.announcements()[-1]), 40)
        assert "it ended with signal 9" in running.errors()
        assert spare in supervising.children()
        assert running.terminate(40) == 0
        assert not any(psutil.pid_exists(one.pid) for one in (child, spare))
    finally:
        if running.process.poll() is None:
            running.kill()
