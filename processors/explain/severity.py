"""How grave the policy calls the failure of a rule. It orders what people are told; no verdict rests on it."""

from collections.abc import Iterable
from typing import get_args

from processors.explain.notes import CriterionNote, ReasonNote
from processors.policy import Rule

SEVERITIES: tuple[str, ...] = get_args(Rule.model_fields["severity"].annotation)
"""From the lightest to the gravest."""


def gravest(criteria: Iterable[CriterionNote]) -> ReasonNote | None:
    """The gravest of all reasons; of equals the first of a criterion with the worse verdict.

    A refusal that is built into Mandate comes before those of the policy: no rule weighs it. None when there is no
    reason, or when the policy at hand tells the severity of none.
    """
    weighed = [(_weight(reason), criterion.verdict == "BLOCK", reason) for criterion in criteria
               for reason in criterion.reasons]  # fmt: skip
    known = [row for row in weighed if row[0] >= 0]
    return max(known, key=lambda row: row[:2])[2] if known else None


def gravest_rules(rules: Iterable[Rule]) -> list[Rule]:
    """Those rules whose severity none of the others exceeds."""
    found = list(rules)
    most = max((SEVERITIES.index(rule.severity) for rule in found), default=0)
    return [rule for rule in found if rule.severity == SEVERITIES[most]]


def _weight(reason: ReasonNote) -> int:
    if reason.severity is not None:
        return SEVERITIES.index(reason.severity)
    return len(SEVERITIES) if reason.rule_id.startswith("built-in-") else -1
