"""Every scenario of tests/scenarios holds, and the runner refuses what is wrong or can't be understood."""

from pathlib import Path

import pytest

from deploy.commands.decide import DEFAULT_BUNDLE
from deploy.commands.policy_test import offline_court
from processors.policy import load_bundle
from processors.scenario import run
from processors.scenarios.document import Scenario, load_directory

SCENARIOS, UNREADABLE = load_directory(Path(__file__).parents[1] / "scenarios")
BUNDLE, COURT = load_bundle(DEFAULT_BUNDLE), offline_court()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{Path(scenario.file).stem}: {scenario.name}")
def test_scenario(scenario: Scenario) -> None:
    result = run(scenario, BUNDLE, COURT)
    if not result.holds:
        pytest.fail(f"\n{result.report}", pytrace=False)


def test_every_scenario_file_can_be_read() -> None:
    assert [str(error) for error in UNREADABLE] == []
