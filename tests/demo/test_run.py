"""The demo on the real parts: broker, registry, intake, worker, sinks and agents."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from deploy.demo import house, world
from deploy.demo.cast import Lead, make_cast
from deploy.demo.processes import PARTS, Company, Part, PartEndedError, Process
from deploy.local import stack as local_stack
from deploy.settings import Settings, load_settings
from tests.demo.test_corpus import give

KEYS = (
    "events", "requests", "decisions", "decision_latency_ms", "revocations", "escalations", "crm_updates",
    "audit_records", "audit_complete", "dead_letters",
)  # fmt: skip


def local_settings(directory: Path) -> Settings:
    return load_settings(data_dir=directory, kafka_port=0, registry_port=0)


def few() -> list[Lead]:
    """Two leads of each kind."""
    return [lead for lead in make_cast() if lead.number < 2]


# --- its own world
def test_the_demo_keeps_to_a_directory_and_stores_of_its_own(tmp_path: Path) -> None:
    own = world.own_settings(load_settings(data_dir=tmp_path, crm_url="postgresql://crm@db/crm", lake_dir=tmp_path))
    assert own.data_dir == tmp_path / "demo"
    assert own.crm_url == f"sqlite:///{tmp_path / 'demo' / 'crm.sqlite'}"
    assert own.lake_dir == tmp_path / "demo" / "lake"
    assert own.clock == "driven"


def test_what_the_last_run_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "summary.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    with world.alone(tmp_path):
        assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.lock", "notes.txt"]


def test_a_second_demo_in_the_same_directory_is_refused_in_a_sentence(tmp_path: Path) -> None:
    with world.alone(tmp_path), pytest.raises(world.DemoError, match="Another demo runs"), world.alone(tmp_path):
        raise AssertionError("not reached")


# --- processes
def test_a_part_that_ends_by_itself_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    process = Process(Part("broken", "mandate broken", "deploy.no_such_module", (), "ready"), tmp_path)
    try:
        process.go(load_settings(data_dir=tmp_path))
        with pytest.raises(PartEndedError, match="ended with code 1: ModuleNotFoundError"):
            process.wait_ready(time.monotonic() + 30)
    finally:
        process.terminate()
        process.wait(time.monotonic() + 5)


def test_parts_end_when_the_demo_is_gone(tmp_path: Path) -> None:
    company = Company(tmp_path)
    children = [psutil.Process(process._process.pid) for process in company._processes]
    assert len(children) == len(PARTS)
    for process in company._processes:
        assert process._process.stdin is not None
        process._process.stdin.close()  # as when the demo is killed
    _, alive = psutil.wait_procs(children, timeout=30)
    company.stop()
    assert alive == []


# --- on a cluster of one's own
@pytest.mark.broker
def test_a_cluster_whose_topics_are_in_use_is_refused_in_a_sentence(stack: Settings, tmp_path: Path) -> None:
    own = world.own_settings(stack.model_copy(update={"data_dir": tmp_path}))
    with pytest.raises(world.DemoError, match="Delete Mandate's topics"):
        world.prepare(own)


# --- the whole
@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.timeout(280)
def test_after_a_killed_demo_the_next_one_runs_and_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = local_settings(tmp_path)
    _kill_in_mid_play(settings)

    assert house.run(settings, few()) == 0

    summary = json.loads((tmp_path / "demo" / "summary.json").read_text())
    assert tuple(summary)[: len(KEYS)] == KEYS
    assert summary["leads"] == len(few())
    assert summary["requests"] > 200
    assert summary["audit_complete"] is True
    assert summary["dead_letters"] == 20
    assert summary["crm_updates"] == summary["topics"]["crm.results"] == summary["topics"]["crm.updates"]
    in_memory = give(few())[0].evidence.total()
    assert summary["decisions"] == {verdict: in_memory[verdict] for verdict in ("PERMIT", "DEFER", "BLOCK")}
    for figure in ("requests", "revocations", "escalations"):
        assert summary[figure] == in_memory[figure], figure
    assert "every claim holds" in capsys.readouterr().out
    assert not any(service.answers for service in local_stack.status(world.own_settings(settings)))
    assert _mentioning(tmp_path) == []


def _kill_in_mid_play(settings: Settings) -> None:
    """Starts the demo, kills it with SIGKILL when it plays; its parts end by themselves."""
    demo = subprocess.Popen(
        [sys.executable, "-m", "deploy.cli", "demo"],
        env={**os.environ, **settings.to_env()},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    giving_up = threading.Timer(120, demo.kill)
    giving_up.start()
    assert demo.stderr is not None
    heard = ""
    for line in demo.stderr:
        heard = line
        if "The play begins" in line:
            break
    children = [child for child in psutil.Process(demo.pid).children() if "deploy.demo.child" in child.cmdline()]
    demo.kill()
    giving_up.cancel()
    demo.wait(10)
    demo.stderr.close()
    assert "The play begins" in heard
    assert len(children) == len(PARTS)
    _, alive = psutil.wait_procs(children, timeout=40)
    assert alive == []


def _mentioning(directory: Path) -> list[str]:
    """Command lines of processes that belong to a directory."""
    found = []
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if str(directory) in line and process.pid != psutil.Process().pid:
            found.append(line)
    return found
