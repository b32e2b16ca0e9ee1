"""The systemd units: what systemd itself says of them, and that they start what there is, as it wants to be started."""

from __future__ import annotations

import shutil
import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest

from deploy.settings import PREFIX, Settings
from streams import EXIT_BROKEN, BadInput

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").iterdir())
INSTALLED = "/opt/mandate/bin/mandate"
OURS = Path(sys.executable).parent / "mandate"


def test_every_process_has_a_unit() -> None:
    assert [unit.name for unit in UNITS] == [
        "mandate-intake@.service", "mandate-sink-audit.service", "mandate-sink-crm.service", "mandate-worker@.service",
    ]  # fmt: skip


def service(unit: Path) -> dict[str, list[str]]:
    """Every value of each key in the section [Service]."""
    found: dict[str, list[str]] = {}
    _, section = unit.read_text().split("[Service]\n")
    for line in section.split("[Install]")[0].splitlines():
        if line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_is_restarted_after_a_crash_and_not_where_a_restart_is_no_help(unit: Path) -> None:
    parsed = ConfigParser(strict=False, interpolation=None)
    parsed.read(unit)
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"
    rules = service(unit)
    assert rules["Restart"] == ["always"]
    prevented = {int(code) for code in rules["RestartPreventExitStatus"][0].split()}
    assert prevented == {2, BadInput.exit_code}
    assert EXIT_BROKEN not in prevented
    assert rules["KillMode"] == ["mixed"]
    assert rules["NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_it_starts_a_command_that_there_is_with_settings_that_there_are(unit: Path) -> None:
    rules = service(unit)
    program, *words = rules["ExecStart"][0].split()
    assert program == INSTALLED
    assert subprocess.run([OURS, *words, "--help"], capture_output=True, timeout=60).returncode == 0
    variables = {assignment.split("=")[0] for assignment in rules["Environment"]}
    assert variables <= {PREFIX + name.upper() for name in Settings.model_fields}
    assert "MANDATE_DATA_DIR" in variables


def test_each_worker_has_a_state_directory_of_its_own() -> None:
    rules = service(next(unit for unit in UNITS if "worker" in unit.name))
    assert "MANDATE_STATE_DIR=%S/mandate/worker-%i" in rules["Environment"]
    assert rules["StateDirectory"] == ["mandate mandate/worker-%i"]


def complaints(unit: Path, directory: Path) -> str:
    """What systemd finds wrong with a unit, its program taken from here."""
    instance = directory / unit.name.replace("@", "@1")
    instance.write_text(unit.read_text().replace(INSTALLED, str(OURS)))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(instance)], capture_output=True, text=True, timeout=60
    )
    return "\n".join(line for line in done.stderr.splitlines() if str(directory) in line or unit.stem in line)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    assert complaints(unit, tmp_path) == ""


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize(
    ("good", "bad"),
    [("Restart=always", "Restart=ever"), ("KillMode=", "KilMode="), (INSTALLED, "/no/such/program")],
)
def test_systemd_finds_what_is_wrong(good: str, bad: str, tmp_path: Path) -> None:
    changed = tmp_path / UNITS[0].name
    changed.write_text(UNITS[0].read_text().replace(good, bad))
    (tmp_path / "verified").mkdir()
    assert complaints(changed, tmp_path / "verified") != ""
