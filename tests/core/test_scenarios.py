"""Every scenario of tests/scenarios holds, and the runner refuses what is wrong or can't be understood."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from msgspec import structs
from typer.testing import CliRunner

from deploy.cli import app
from deploy.commands.decide import DEFAULT_BUNDLE
from deploy.commands.policy_test import offline_court
from processors.policy import load_bundle
from processors.scenarios import answers, expectations, proofs, words
from processors.scenarios.document import NOON, Group, Scenario, load_directory
from processors.scenarios.moments import moment
from processors.scenarios.runner import Result, run
from processors.scenarios.steps import SPECIAL, Teller
from processors.scenarios.tale import Tale, merge
from schemas.records import Verdict

ROOT = Path(__file__).parents[2]
SCENARIOS, UNREADABLE = load_directory(ROOT / "tests" / "scenarios")
BUNDLE, COURT = load_bundle(DEFAULT_BUNDLE), offline_court()


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{Path(scenario.file).stem}: {scenario.name}")
def test_scenario(scenario: Scenario) -> None:
    result = run(scenario, BUNDLE, COURT)
    if not result.holds:
        pytest.fail(f"\n{result.report}", pytrace=False)


def test_every_scenario_file_can_be_read() -> None:
    assert [str(error) for error in UNREADABLE] == []


# --- what the runner finds
def leaves(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where each plain value of an expectation stands: its container and key."""
    places = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in places:
        if isinstance(item, dict | list):
            yield from leaves(item)
        elif key not in ("lead", "conversation"):
            yield value, key


def wronged(value: Any) -> Any:
    """A value that can't be right."""
    if isinstance(value, bool) or value is None:
        return "no such thing"
    return value + 7 if isinstance(value, int) else f"{value} never"


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: f"{Path(scenario.file).stem}: {scenario.name}")
def test_no_expectation_passes_when_it_is_wrong(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proofs, "replay", lambda tale: ())  # replayed by test_scenario
    thens = [part.then for part in scenario.parts]
    count = sum(1 for then in thens for _ in leaves(then))
    for index in range(count):
        wrong = copy.deepcopy(scenario)
        container, key = [place for part in wrong.parts for place in leaves(part.then)][index]
        container[key] = wronged(container[key])
        assert not run(wrong, BUNDLE, COURT).holds, f"{key}: {container[key]} passes"


def run_text(tmp_path: Path, text: str) -> Result:
    """The one scenario of a text, after a common beginning, run."""
    file = tmp_path / "one.yaml"
    file.write_text("group: state\nscenarios:\n- name: one\n" + text)
    scenarios, errors = load_directory(file)
    assert errors == []
    return run(scenarios[0], BUNDLE, COURT)


ASKED = "  given: [lead known]\n  when:\n  - ask: {role: booking, action: initiate_contact, as: r1}\n  then:\n"


@pytest.mark.parametrize(
    ("then", "complaint"),
    [
        ("- r9: PERMIT", "'r9' is neither a word nor a request that was asked"),
        ("- r1: PERMITTED", "'PERMITTED' is not one of BLOCK, DEFER, PERMIT"),
        ("- r1: {verdct: PERMIT}", "unknown word 'verdct'"),
        ("- r1: {not: [NO_CONSET]}", "'NO_CONSET' is neither a reason code nor the id of a rule"),
        ("- r1: {codes: [NO_CONSET]}", "'NO_CONSET' is not one of"),
        ("- r1: {criteria: {STAT: PERMIT}}", "'STAT' is not one of STATE, ROLE, GOVERNANCE"),
        ("- r1: {grant: valid}", "'valid' is not one of"),
        ("- {r1: PERMIT, lead: bob}", "it was asked about lead-1, not about bob"),
        ("- {stage: contact, lead: bob}", "nothing happened to a lead 'bob'"),
        ("- stage: first", "'first' is not one of contact"),
        ("- floor: somebody", "'somebody' is not one of free, booking-agent"),
        ("- speech_mode: OPEN", "there is no conversation 'c1'"),
        ("- facts: {intent.scoop: absent}", "there can't be a fact of this name"),
        ("- facts: {floors: absent}", "there can't be a fact of this name"),
        ("- facts: {conversation.hold/c7: absent}", "there is no conversation 'c7'"),
        ("- facts: {contact.reached: maybe}", "'maybe' is not one of yes"),
        ("- transitions: {stage: contact}", "write old -> new, or unchanged"),
        ("- transitions: {stages: unchanged}", "there can't be a fact of this name"),
        ("- directives: {not: [{type: SHOUT}]}", "'SHOUT' is not one of"),
        ("- directives: {not: [{agent: nobody}]}", "no agent 'nobody' did anything"),
        ("- directives: {not: [{kind: STOP}]}", "unknown field 'kind'"),
        ("- revocations: {not: [{grant: r9}]}", "'r9' is no request with a grant"),
        ("- directives: STOP", "expected a list (exactly these) or a mapping of has, not, count"),
        ("- nothing_happens: false", "it is only ever true"),
        ("- PERMIT", "an expectation is a mapping"),
    ],
)
def test_an_expectation_that_can_never_mean_anything_is_an_error_with_its_line(
    tmp_path: Path, then: str, complaint: str
) -> None:
    result = run_text(tmp_path, ASKED + "  " + then)
    assert result.is_bad
    assert "one.yaml:8: " in result.report
    assert complaint in result.report


@pytest.mark.parametrize(
    ("step", "complaint"),
    [
        ("lead unknwon", "no beginning is named 'lead unknwon'"),
        ("shout: hello", "unknown step 'shout'"),
        ("{says: hello, ask: {}}", "a step is one word"),
        ("ask: {role: booking, acton: initiate_contact}", "unknown field 'acton'; allowed: request"),
        ("ask: {role: booking}", "AgentRequest.action: missing"),
        ("ask: initiate_contact", "expected a mapping of its fields"),
        ("call: CALL_HELD", "'CALL_HELD' is not one of"),
        ("says: {text: hello, confidence: high}", "expected double"),
        ("{says: hello, after: soon}", "'soon' is no duration"),
        ("{says: {text: hello, after: 1}, after: 1}", "after stands beside it and under it"),
        ("{wait: 5, after: 1}", "it takes no 'after'"),
        ("{crm: LEAD_UPSERTED, conversation: c1}", "it takes no 'conversation'"),
        ("{says: hello, signed: true}", "it takes no 'signed'"),
        ("human: {type: OVERRIDE_WITHDRAWN, override: o1}", "nothing is named 'o1'"),
        ("wait: {weeks: 1}", "is no duration"),
        ("at: 2026-11-18T11:00 America/New_York", "time does not go back"),
        ("at: 2026-11-18T13:00", "has no time zone"),
        ("at: 2026-11-18T13:00 Mars/Olympus", "no zone 'Mars/Olympus'"),
        ("repeat: r9", "nothing is named 'r9'"),
        ("report: r9", "no request is named 'r9'"),
        ("report: {result: DONE}", "nothing was permitted yet to report on"),
        ("corrects: {segment: s9, text: no}", "nothing was said that is named 's9'"),
        ("human: {type: CASE_RESOLVED, case: asks_for_human}", "no case of cause 'asks_for_human' was opened"),
        ("signal: {type: READINESS, of: s1}", "only report has `of`"),
        ("policy: {change: {rules: none}}", "the changed bundle is none: rules"),
        ("policy: {chnge: {}}", "PolicyActivation.chnge: no such field"),
    ],
)
def test_a_step_that_can_t_be_carried_out_is_an_error_with_its_line(tmp_path: Path, step: str, complaint: str) -> None:
    result = run_text(tmp_path, f"  when:\n  - {step}\n  then:\n  - stage: contact\n")
    assert result.is_bad
    assert "one.yaml:5: " in result.report
    assert complaint in result.report


def test_a_step_that_a_block_made_impossible_shows_the_block(tmp_path: Path) -> None:
    text = (
        "  given: [lead unknown]\n  when:\n  - ask: {role: booking, action: initiate_contact, as: r1}\n  - report: r1\n"
    )
    report = run_text(tmp_path, text + "  then:\n  - r1: PERMIT\n").report
    assert "one.yaml:7: report: r1 has no grant to report on" in report
    assert "-> r1: BLOCK MISSING_FACT, NO_CONSENT" in report


def test_what_is_wrong_in_a_files_own_beginning_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(
        "group: state\nbeginnings:\n  odd:\n  - lead known\n  - shout: hello\n"
        "scenarios:\n- {name: one, given: [odd], then: [{stage: contact}]}\n"
    )
    assert f"{file}:5: unknown step 'shout'" in run(load_directory(file)[0][0], BUNDLE, COURT).report


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("group: states\nscenarios: []", "one.yaml:1: group is one of criteria, intent"),
        ("group: state\nscenarios:\n- name: a\n  whn: []\n  then: [{stage: contact}]", "one.yaml:4: unknown key 'whn'"),
        ("group: state\nscenarios:\n- name: a\n  then: []", "one.yaml:3: 'a' expects nothing"),
        ("group: state\nscenarios:\n- name: a", "one.yaml:3: 'a' expects nothing"),
        ("group: state\nscenarios:\n- name: a\n  name: b", "one.yaml:4: 'name' stands twice"),
        ("group: state\nscenarios:\n- name: [a", "one.yaml:3: not readable as YAML"),
        (
            "group: state\nscenarios:\n- name: a\n  then: [{stage: contact}]\n- name: a\n  then: [{stage: contact}]",
            "one.yaml:3: two scenarios are named 'a'",
        ),
        ("", "one.yaml: the file is empty"),
    ],
)
def test_a_file_that_is_no_scenarios_is_refused_with_its_line(tmp_path: Path, text: str, complaint: str) -> None:
    file = tmp_path / "one.yaml"
    file.write_text(text)
    scenarios, errors = load_directory(tmp_path)
    assert scenarios == []
    assert complaint in str(errors[0])


def test_a_failure_says_what_was_expected_what_came_and_why(tmp_path: Path) -> None:
    text = "  given: [lead unknown]\n  when:\n  - ask: {role: booking, action: initiate_contact, as: r1}\n  then:\n"
    report = run_text(tmp_path, text + "  - r1: PERMIT\n").report
    assert "one.yaml:8  r1: verdict\n    expected  PERMIT\n    came      BLOCK\n" in report
    assert "NO_CONSENT (gov-consent): " in report
    assert "booking-agent asks initiate_contact as booking on VOICE (r1)" in report


# --- what is checked unasked
CALLS = {"ask": {"role": "booking", "action": "initiate_contact", "as": "r1"}}


def told(*steps: Any) -> Tale:
    """A tale of some steps."""
    tale = Tale(BUNDLE, COURT, moment(NOON))
    tale.tell(tale.activation(None), tale.now)
    Teller(tale, "one.yaml", {}).run(list(steps), 1)
    return tale


def test_a_decision_that_no_invariant_allows_is_found_without_being_asked_for() -> None:
    permit = told("lead known", {"ask": {"role": "booking", "action": "initiate_contact", "as": "r1"}}).decisions("r1")[
        0
    ]
    assert list(proofs.faults(permit)) == []
    failing = (structs.replace(permit.criteria[0], verdict=Verdict.BLOCK), *permit.criteria[1:])
    bad = {
        "PERMIT although STATE does not hold": structs.replace(permit, criteria=failing),
        "not all three criteria are reported": structs.replace(permit, criteria=permit.criteria[:2]),
        "PERMIT without a grant": structs.replace(permit, grant=None),
        "BLOCK with a grant": structs.replace(permit, verdict=Verdict.BLOCK),
        "DEFER without a deadline ahead of it": structs.replace(permit, verdict=Verdict.DEFER),
    }
    assert [problem for problem, decision in bad.items() if problem not in proofs.faults(decision)] == []


def test_a_request_that_is_not_answered_once_and_for_all_is_found() -> None:
    permit = told("lead known", {"ask": {"role": "booking", "action": "initiate_contact", "as": "r1"}}).decisions("r1")[
        0
    ]
    defer = structs.replace(permit, verdict=Verdict.DEFER)
    assert list(proofs.problems([permit], waits=False)) == []
    assert list(proofs.problems([defer], waits=True)) == []
    assert list(proofs.problems([], waits=False)) == ["it was never answered"]
    for answers_given, waits in (([permit, permit], False), ([permit], True), ([defer], False)):
        assert "one of them is due" in next(proofs.problems(answers_given, waits=waits))
    assert list(proofs.problems([permit, defer], waits=False)) == ["it was deferred after its final decision"]


def test_a_replay_that_gives_other_bytes_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    count = iter(range(10_000))
    monkeypatch.setattr("processors.draft.Draft.derive", lambda self, *parts: f"{parts[0]}-{next(count)}")
    report = run_text(tmp_path, ASKED + "  - r1: PERMIT\n").report
    assert "gives other bytes" in report


# --- policies
def test_a_change_of_the_bundle_is_merged_by_key_and_by_id() -> None:
    old = {"a": {"b": 1, "c": 2}, "rules": [{"id": "x", "n": 1}, {"id": "y", "n": 1}], "list": [1]}
    new = {"a": {"b": 3, "c": None}, "rules": [{"id": "y", "n": 2}, {"id": "z", "n": 3}], "list": [2]}
    merged = {"a": {"b": 3}, "rules": [{"id": "x", "n": 1}, {"id": "y", "n": 2}, {"id": "z", "n": 3}], "list": [2]}
    assert merge(old, new) == merged


# --- the command
def test_the_command_tells_holds_from_fails_from_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "one.yaml"
    text = "group: state\nscenarios:\n- name: one\n  given: [lead known]\n  then:\n  - stage: STAGE\n"
    codes = {}
    for stage in ("contact", "closing", "nowhere"):
        file.write_text(text.replace("STAGE", stage))
        result = CliRunner().invoke(app, ["policy", "test", str(tmp_path)])
        codes[stage] = (result.exit_code, result.stdout.splitlines()[-1])
    assert codes == {
        "contact": (0, "1 scenarios, 0 failed"),
        "closing": (1, "1 scenarios, 1 failed"),
        "nowhere": (2, "1 scenarios, 1 failed"),
    }
    assert CliRunner().invoke(app, ["policy", "test", str(tmp_path), "-k", "another"]).exit_code == 2
    assert CliRunner().invoke(app, ["policy", "test", str(tmp_path / "none")]).exit_code == 2
    assert CliRunner().invoke(app, ["policy", "test", str(tmp_path), "--policy", str(tmp_path)]).exit_code == 2


# --- the docs
def test_the_docs_list_every_group_step_expectation_and_beginning() -> None:
    text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    shipped = yaml.safe_load((ROOT / "processors" / "scenarios" / "beginnings.yaml").read_text(encoding="utf-8"))
    listed = [*get_args(Group), *words.WORDS, *SPECIAL, *expectations.WORDS, *answers.WORDS, *shipped]
    assert [word for word in listed if f"`{word}`" not in text] == []


def test_the_example_of_the_docs_holds(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")
    file = tmp_path / "example.yaml"
    file.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    scenarios, errors = load_directory(file)
    assert errors == []
    assert [run(scenario, BUNDLE, COURT).report for scenario in scenarios] == [""]
