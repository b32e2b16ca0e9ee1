"""`mandate tail` and `mandate policy activate` on a real broker."""

import io
import json
from pathlib import Path

import pytest

from deploy import keys
from deploy.commands import policy_activate, tail
from deploy.settings import PACKAGED_POLICY, Settings
from processors.authority import Court
from processors.policy import load_bundle
from schemas.records import CrmEvent, CrmEventType, LeadId, PolicyActivation
from streams.registry import connect
from tests.topology.intake_process import Topics, unique

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def topics(stack: Settings) -> Topics:
    return Topics(stack, connect(stack))


def _status(lead: str, text: str) -> CrmEvent:
    return CrmEvent(
        event_id=unique("e"), lead_id=LeadId(lead), type=CrmEventType.STATUS_CHANGED, status=text, received_at=1_000_000
    )


def _tail(settings: Settings, **options: object) -> list[dict[str, object]]:
    out = io.StringIO()
    assert tail.run(settings, from_start=True, until_idle=0.2, out=out, **options) == 0  # type: ignore[arg-type]
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_tail_prints_decoded_records_with_their_place(stack: Settings, topics: Topics) -> None:
    lead = unique("lead")
    topics.put(_status(lead, "new"), key=lead, at_ms=1_767_607_200_000)
    (line,) = _tail(stack, topics=["crm.events"], lead=lead)
    assert list(line) == ["topic", "partition", "offset", "at", "key", "value"]
    assert (line["topic"], line["key"], line["at"]) == ("crm.events", lead, "2026-01-05T10:00:00.000Z")
    value = line["value"]
    assert isinstance(value, dict)
    assert (value["status"], value["received_at"]) == ("new", "1970-01-01T00:00:01.000Z")


def test_tail_shows_one_lead_and_no_more_than_asked(stack: Settings, topics: Topics) -> None:
    lead, other = unique("lead"), unique("lead")
    for number in range(3):
        topics.put(_status(lead, f"s{number}"))
        topics.put(_status(other, "other"))
    lines = _tail(stack, topics=["crm.events"], lead=lead, limit=2)
    assert len(lines) == 2
    assert {line["value"]["lead_id"] for line in lines} == {lead}  # type: ignore[index]


def test_tail_prints_what_it_cannot_read_and_goes_on(stack: Settings, topics: Topics) -> None:
    junk = unique("junk")
    topics.put_bytes("crm.events", junk.encode())
    shown = [line["value"] for line in _tail(stack, topics=["crm.events"]) if isinstance(line["value"], dict)]
    assert [value["error"] for value in shown if value.get("bytes") == junk]


def test_tail_of_an_unknown_topic_is_refused_by_its_name(stack: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert tail.run(stack, topics=["crm.event"]) == 2
    assert "crm.event;" in capsys.readouterr().err


def _activations(topics: Topics) -> list[PolicyActivation]:
    return policy_activate.past_activations(topics.settings, topics.codec)


def _activate(settings: Settings, **options: object) -> int:
    return policy_activate.run(settings, bundle=PACKAGED_POLICY, **options)  # type: ignore[arg-type]


def test_a_bundle_is_activated_once_with_a_signature_that_control_accepts(
    stack: Settings, topics: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    before = len(_activations(topics))
    assert _activate(stack, reason="first") == 0
    assert _activate(stack) == 0
    assert "in force already" in capsys.readouterr().out
    found = _activations(topics)
    assert len(found) <= before + 1
    activation = found[-1]
    assert activation.digest == load_bundle(PACKAGED_POLICY).digest()
    approver = keys.load_private_key(stack.approver_key_path)
    signing = keys.load_private_key(stack.signing_key_path)
    assert Court.from_keys(signing, [approver.public_key()]).approved(activation)
    assert not Court.from_keys(signing, [signing.public_key()]).approved(activation)


def test_a_given_revision_must_be_above_all_that_are_in_the_log(
    stack: Settings, topics: Topics, capsys: pytest.CaptureFixture[str]
) -> None:
    _activate(stack)
    highest = max(activation.revision for activation in _activations(topics))
    assert _activate(stack, revision=highest) == 2
    assert f"not above {highest}" in capsys.readouterr().err
    assert _activate(stack, revision=highest + 5) == 0
    assert max(activation.revision for activation in _activations(topics)) == highest + 5


def test_a_bundle_that_is_none_is_refused_in_words(
    stack: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert policy_activate.run(stack, bundle=tmp_path) == 2
    assert capsys.readouterr().err.startswith("mandate: ")
