"""The one action that Mandate carries out itself: the write to the CRM."""

from datetime import date
from pathlib import Path

import pytest

from processors.lint import lint
from processors.policy import Bundle
from processors.policy.names import CRM_ACTION
from schemas.records import Channel, CrmUpdate
from tests.core.story import Story, activation, default_bundle

SMALL = Path(__file__).parent / "bundles" / "small" / "bundle.yaml"


def test_of_all_actions_only_this_one_is_done_by_its_permit() -> None:
    assert CRM_ACTION in default_bundle().actions
    story = Story()
    story.ask("booking", "initiate_contact", conversation=None)
    assert list(story.of(CrmUpdate)) == []
    permit = story.ask(
        "booking", CRM_ACTION, conversation=None, channel=Channel.BACKEND, crm_fields={"meeting_at": "x"}
    )
    assert [update.grant for update in story.of(CrmUpdate)] == [permit.grant]


def test_an_opt_out_under_a_policy_without_the_action_holds_and_is_not_written() -> None:
    story = Story(policy=False)
    story.tell(activation(_without_the_action(default_bundle())))
    story.known()
    story.answered_call()
    story.says("please stop calling me")
    assert story.fact("do_not_contact") == "buyer"
    assert list(story.of(CrmUpdate)) == []


ACTION = "  update_crm: {title: Write CRM fields, kind: record,"
OWN = "  mandate: {title: Mandate itself, actions: [update_crm], channels: [BACKEND], crm_fields: [do_not_contact]}\n"
BOOKING = "    actions: [call, ask_scope, hand_over]\n"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([], []),
        ([(ACTION, ACTION.replace("record", "offer"))],
         [("action update_crm", "its kind must be record, not offer", False)]),
        ([(ACTION, ACTION.replace("update_crm", "write_crm")), ("[update_crm]", "[write_crm]")],
         [("role mandate", "there is no action 'update_crm': Mandate can't record an opt-out in the CRM", False)]),
        ([(ACTION, ACTION.replace("update_crm", "write_crm")), (OWN, ""),
          (BOOKING, BOOKING.replace("]", ", write_crm]") + "    crm_fields: [meeting_at]\n")],
         [("actions", "the CRM fields of booking are never written", False)]),
        ([(ACTION, ACTION.replace("update_crm", "write_crm")), (OWN, ""),
          (BOOKING, BOOKING.replace("]", ", write_crm]"))],
         [("actions", "nothing is written to the CRM, an opt-out neither", True)]),
    ],
    ids=["whole", "another kind", "nothing for the opt-out", "fields for nothing", "no CRM"],
)  # fmt: skip
def test_lint_tells_of_a_bundle_whose_action_is_missing_or_is_none_that_writes(
    tmp_path: Path, changes: list[tuple[str, str]], told: list[tuple[str, str, bool]]
) -> None:
    text = SMALL.read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (tmp_path / "bundle.yaml").write_text(text, encoding="utf-8")
    found = [problem for problem in lint(tmp_path, date(2026, 11, 21)) if "CRM" in problem.sentence]
    assert [(p.about, p.is_warning) for p in found] == [(about, is_warning) for about, _, is_warning in told]
    assert all(part in p.sentence for p, (_, part, _) in zip(found, told, strict=True))


def test_lint_does_not_call_an_action_missing_that_is_only_misspelt_within(tmp_path: Path) -> None:
    text = SMALL.read_text(encoding="utf-8").replace("kind: record", "kind: recrod")
    (tmp_path / "bundle.yaml").write_text(text, encoding="utf-8")
    found = lint(tmp_path, date(2026, 11, 21))
    assert [problem.about for problem in found] == ["action update_crm"]


def _without_the_action(bundle: Bundle) -> Bundle:
    """The bundle with the action named nowhere; Mandate's own role is still there."""

    def rest(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(name for name in names if name != CRM_ACTION)

    return bundle.model_copy(
        update={
            "actions": {name: action for name, action in bundle.actions.items() if name != CRM_ACTION},
            "roles": {
                name: role.model_copy(update={"actions": rest(role.actions)}) for name, role in bundle.roles.items()
            },
            "rules": tuple(rule.model_copy(update={"actions": rest(rule.actions)}) for rule in bundle.rules),
            "triggers": tuple(row.model_copy(update={"suspends": rest(row.suspends)}) for row in bundle.triggers),
        }
    )
