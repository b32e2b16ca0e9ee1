"""Runs scenarios against a policy bundle: each is told to the real fold, and judged by what comes out.

Nothing of the runner decides anything: the journal goes through `partition.Partition`, grants are really signed, the
policy is really activated. What a scenario may say is in docs/scenarios.md.
"""

from typing import NamedTuple

from pydantic import ValidationError

from processors.authority import Court
from processors.policy import Bundle
from processors.scenarios.document import Part, Scenario
from processors.scenarios.expectations import check
from processors.scenarios.finding import Finding
from processors.scenarios.moments import moment, zone_name
from processors.scenarios.proofs import broken
from processors.scenarios.source import BadScenario, plain
from processors.scenarios.steps import Teller
from processors.scenarios.tale import Tale
from processors.scenarios.telling import tell, what_happened


class Result(NamedTuple):
    """What became of a scenario. report: empty when it holds; is_bad: it could not be understood."""

    scenario: Scenario
    report: str
    is_bad: bool = False

    @property
    def holds(self) -> bool:
        """Everything expected came, and what is checked unasked holds."""
        return not self.report


def run(scenario: Scenario, bundle: Bundle, court: Court) -> Result:
    """Plays one scenario. The same scenario gives the same result, always."""
    tale: Tale | None = None
    try:
        tale = _begin(scenario, bundle, court)
        findings = _play(scenario, tale)
    except BadScenario as error:
        lines = [
            f"ERROR   {scenario.name}",
            f"  {error}",
            *(what_happened(tale, zone_name(scenario.at)) if tale else ()),
        ]
        return Result(scenario, "\n".join(lines), is_bad=True)
    if not findings:
        return Result(scenario, "")
    return Result(scenario, tell(scenario.name, scenario.where, findings, tale, zone_name(scenario.at)))


def _begin(scenario: Scenario, bundle: Bundle, court: Court) -> Tale:
    """The journal at the scenario's start: the policy in force, unless it says none."""
    try:
        tale = Tale(bundle, court, moment(scenario.at), ticks=scenario.ticks)
        if scenario.policy != "none":
            tale.tell(tale.activation(plain(scenario.policy)), tale.now)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise BadScenario(scenario.where, f"policy: the changed bundle is none: {place}: {first['msg']}") from error
    except ValueError as error:
        raise BadScenario(scenario.where, f"at: {error}") from error
    return tale


def _play(scenario: Scenario, tale: Tale) -> list[Finding]:
    teller = Teller(tale, scenario.file, scenario.beginnings)
    teller.run(scenario.given, scenario.line)
    tale.given_end = len(tale.told)
    findings: list[Finding] = []
    for part in scenario.parts:
        findings += _play_part(scenario, tale, teller, part)
    findings += [Finding(scenario.where, "what always holds", "no such thing", problem) for problem in broken(tale)]
    return findings


def _play_part(scenario: Scenario, tale: Tale, teller: Teller, part: Part) -> list[Finding]:
    tale.round_start = len(tale.told)
    teller.run(part.when, scenario.line)
    return check(tale, part.then, scenario.file)
