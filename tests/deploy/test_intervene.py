"""A person's act on a lead: the record is right, the signature counts, and what can't be meant is refused in words."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.commands.intervene import Wanted, Wrong, build, make_key
from deploy.keys import create_private_key, load_private_key, public_jwk
from processors.bounds import fault_in
from processors.policy.acting import Person
from schemas.codec import decode, encode
from schemas.jsonio import parse_time
from schemas.records import CaseStatus, Decision, HumanIntervention, InterventionType, Verdict
from tests.core.story import KEY, Story, activation, codes, default_bundle

CAROL = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
NOW = parse_time("2026-11-18T17:00:00Z")
WHO = {"lead": "lead-1", "author": "carol", "author_role": "executive", "reason": "a good customer"}
OVERRIDE = {"kind": "override", "request": "request-1", "key": Path("carol.pem")}


def built(now: int = NOW, signer: Ed25519PrivateKey | None = None, **typed: Any) -> HumanIntervention:
    return build(Wanted(**{**WHO, **typed}), now, signer)


# --- the record
def test_what_is_typed_is_in_the_record_with_time_and_the_authors_name() -> None:
    made = built(kind="refuse", effects=("discuss_money", "discuss_money"), since="2026-11-19T00:00:00+01:00")
    assert (made.type, made.lead_id, made.author, made.author_role, made.reason) == (
        InterventionType.REFUSE, "lead-1", "carol", "executive", "a good customer",
    )  # fmt: skip
    assert made.effects == ("discuss_money",)
    assert (made.since, made.until, made.occurred_at) == (parse_time("2026-11-18T23:00:00Z"), None, NOW)
    assert (made.case_id, made.request_id, made.override_id, made.signature) == (None, None, None, None)
    assert decode(HumanIntervention, encode(made)) == made
    assert fault_in(made) is None


@pytest.mark.parametrize("kind", ["CASE_RESOLVED", "case_resolved", "case-resolved"])
def test_a_kind_may_be_typed_as_one_likes(kind: str) -> None:
    assert built(kind=kind, case="case-1").type is InterventionType.CASE_RESOLVED


def test_an_id_says_all_that_was_typed_and_when() -> None:
    one = built(kind="pause")
    assert one.intervention_id == built(kind="pause").intervention_id
    others = [built(kind="stop"), built(kind="pause", reason="other"), built(NOW + 1, kind="pause")]
    assert len({one.intervention_id, *(other.intervention_id for other in others)}) == 4


NEEDED: dict[str, dict[str, Any]] = {
    "CASE_ACKNOWLEDGED": {"case": "case-1"},
    "CASE_RESOLVED": {"case": "case-1"},
    "PAUSE": {},
    "RESUME": {},
    "STOP": {},
    "OVERRIDE": {"request": "request-1", "key": Path("carol.pem")},
    "OVERRIDE_WITHDRAWN": {"override": "override-1", "key": Path("carol.pem")},
    "REFUSE": {"effects": ("meeting",)},
    "REFUSAL_LIFTED": {"effects": ("meeting",)},
}


@pytest.mark.parametrize("kind", sorted(set(InterventionType) - {InterventionType.UNKNOWN}))
def test_every_kind_of_the_contract_can_be_written_and_overrides_alone_are_signed(kind: str) -> None:
    made = built(signer=CAROL, kind=kind, **NEEDED[kind])
    assert made.type == kind
    assert (made.signature is not None) == kind.startswith("OVERRIDE")


# --- what can't be meant
@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ({"kind": ""}, "no intervention ''; there are case_acknowledged, case_resolved, pause"),
        ({"kind": "shout"}, "no intervention 'shout'"),
        ({"kind": "unknown"}, "no intervention 'unknown'"),
        ({"kind": "pause", "lead": ""}, "PAUSE needs --lead: the lead's id"),
        ({"kind": "pause", "author": ""}, "PAUSE needs --author"),
        ({"kind": "pause", "author_role": ""}, "PAUSE needs --author-role"),
        ({"kind": "pause", "reason": " "}, "PAUSE needs --reason: why"),
        ({"kind": "case_resolved"}, "CASE_RESOLVED needs --case.*escalation.cases"),
        ({"kind": "refuse"}, "REFUSE needs --effect"),
        ({"kind": "override", "key": Path("k")}, "OVERRIDE needs --request"),
        ({"kind": "override", "request": "r"}, "OVERRIDE needs --key.*--new-key FILE"),
        ({"kind": "override_withdrawn", "override": "o"}, "OVERRIDE_WITHDRAWN needs --key"),
        ({"kind": "override_withdrawn", "key": Path("k")}, "OVERRIDE_WITHDRAWN needs --override"),
        ({"kind": "pause", "until": "2027-01-01T00:00Z"}, "PAUSE takes no --until.*for OVERRIDE and REFUSE"),
        ({"kind": "pause", "key": Path("k")}, "PAUSE takes no --key.*OVERRIDE and OVERRIDE_WITHDRAWN"),
        ({"kind": "refuse", "effects": ("e",), "until": "tomorrow"}, "--until 'tomorrow' is no ISO 8601 time"),
        ({"kind": "refuse", "effects": ("e",), "since": "2026-11-18T17:00:00"}, "--since .* with a zone"),
        ({"kind": "refuse", "effects": ("e",), "until": "2026-11-18T17:00:00Z"}, "is over before it begins"),
        (
            {"kind": "refuse", "effects": ("e",), "since": "2026-12-02T00:00Z", "until": "2026-12-01T00:00Z"},
            "is over before it begins",
        ),
        ({"kind": "pause", "lead": "x" * 201}, "lead_id: 201 characters, at most 200"),
        ({"kind": "pause", "reason": "x" * 8_001}, "reason: 8001 characters"),
        ({"kind": "pause", "reason": "\udcff"}, "reason: holds a lone surrogate"),
        ({"kind": "refuse", "effects": tuple(f"e{n}" for n in range(101))}, "effects: 101 items"),
    ],
)
def test_what_can_not_be_meant_is_refused_in_a_sentence(typed: dict[str, Any], says: str) -> None:
    with pytest.raises(Wrong, match=says):
        built(signer=CAROL, **typed)


# --- the core takes it
def story_of_carol(*may_override: str) -> Story:
    """A lead ready to close, under a policy that knows carol's key; a discount above authority was refused."""
    person = Person(
        role="executive", public_key=public_jwk(CAROL.public_key())["x"], may_override=may_override or ("*",)
    )
    story = Story(policy=False, known=False)
    story.tell(activation(default_bundle().model_copy(update={"people": {"carol": person}})))
    story.known()
    story.ready_to_close()
    return story


def discount(story: Story) -> Decision:
    return story.ask("closing", "offer_discount", parameters={"discount_bp": 1500})


def resolve_case(story: Story) -> None:
    """The refusal opened a case, which holds up discounts by itself."""
    [case] = [case for case in story.state().cases if case.status is CaseStatus.OPEN]
    story.tell(built(story.now, kind="case_resolved", case=case.case_id))


def test_an_override_lifts_one_refusal_once() -> None:
    story = story_of_carol()
    refused = discount(story)
    assert "DISCOUNT_ABOVE_AUTHORITY" in codes(refused)
    override = built(story.now, CAROL, **{**OVERRIDE, "request": refused.request_id})
    story.tell(override)
    resolve_case(story)
    assert story.fact("override.offer_discount") == override.intervention_id
    permit = discount(story)
    assert permit.verdict is Verdict.PERMIT, codes(permit)
    assert permit.override is not None
    assert (permit.override.override_id, permit.override.author) == (override.intervention_id, "carol")
    story.report(permit)
    assert "DISCOUNT_ABOVE_AUTHORITY" in codes(discount(story)), "one decision, not the next"


def test_an_override_that_is_withdrawn_in_time_lifts_nothing() -> None:
    story = story_of_carol()
    override = built(story.now, CAROL, **{**OVERRIDE, "request": discount(story).request_id})
    story.tell(override)
    resolve_case(story)
    withdrawal = {"kind": "override_withdrawn", "override": override.intervention_id, "key": Path("carol.pem")}
    story.tell(built(story.now, CAROL, **withdrawal))
    assert story.fact("override.offer_discount") == ""
    assert "DISCOUNT_ABOVE_AUTHORITY" in codes(discount(story))


def test_an_override_signed_with_another_key_is_rejected_on_the_log_by_its_id() -> None:
    story = story_of_carol()
    override = built(story.now, KEY, **{**OVERRIDE, "request": discount(story).request_id})
    story.tell(override)
    assert story.fact("override.offer_discount") == ""
    assert story.fact("intervention.rejected") == f"{override.intervention_id}: the signature is not carol's"


def test_an_override_of_what_carol_may_not_override_is_rejected() -> None:
    story = story_of_carol("request_commitment")
    story.tell(built(story.now, CAROL, **{**OVERRIDE, "request": discount(story).request_id}))
    assert "carol may not override offer_discount" in story.fact("intervention.rejected")


@pytest.mark.parametrize(
    ("kind", "fact", "value"), [("pause", "paused", "carol"), ("stop", "paused", "carol"), ("resume", "paused", "")]
)
def test_pause_stop_and_resume_show_as_the_fact_that_the_command_names(kind: str, fact: str, value: str) -> None:
    story = story_of_carol()
    story.human("PAUSE") if kind == "resume" else None
    story.tell(built(story.now, kind=kind))
    assert story.fact(fact) == value
    assert story.fact("intervention.rejected") == ""


# --- keys
def test_a_new_key_is_private_and_its_public_half_fits_the_policy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "keys" / "carol.pem"
    assert make_key(file) == 0
    printed = capsys.readouterr().out.strip()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert Person(role="executive", public_key=printed).public_key == printed
    assert printed == public_jwk(load_private_key(file).public_key())["x"]


def test_a_key_that_is_there_is_kept_and_said_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "carol.pem"
    make_key(file)
    first, before = capsys.readouterr(), file.read_bytes()
    make_key(file)
    second = capsys.readouterr()
    assert (second.out, file.read_bytes()) == (first.out, before)
    assert "holds a key already, which is kept" in second.err
    assert "holds a key already" not in first.err


def test_a_place_that_takes_no_key_is_a_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert make_key(tmp_path / "file" / "carol.pem") == 2
    assert "can't be written" in capsys.readouterr().err


# --- the command
def mandate(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deploy.cli", "intervene", *arguments], env={**os.environ, **variables},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


WHO_OPTIONS = ("--lead", "lead-1", "--author", "carol", "--author-role", "executive", "--reason", "a good customer")


def test_every_option_reaches_the_check_that_judges_it(tmp_path: Path) -> None:
    key = tmp_path / "carol.pem"
    create_private_key(key)
    done = mandate("pause", *WHO_OPTIONS, "--case", "c")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mandate: PAUSE takes no --case")
    assert "takes no --effect" in mandate("pause", *WHO_OPTIONS, "--effect", "a", "--effect", "b").stderr
    assert "takes no --override" in mandate("pause", *WHO_OPTIONS, "--override", "o").stderr
    signed = ("override", *WHO_OPTIONS, "--request", "r", "--key", str(key))
    assert "is over before it begins" in mandate(*signed, "--until", "2020-01-01T00:00:00Z").stderr
    assert "takes no --since" in mandate(*signed, "--since", "2020-01-01T00:00:00Z").stderr


def test_a_key_that_can_not_be_read_is_a_sentence_and_exit_code_2(tmp_path: Path) -> None:
    done = mandate("override", *WHO_OPTIONS, "--request", "r", "--key", str(tmp_path / "none.pem"))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "can't be read" in done.stderr


def test_a_key_is_made_without_anything_else_being_said(tmp_path: Path) -> None:
    done = mandate("--new-key", str(tmp_path / "carol.pem"))
    assert done.returncode == 0, done.stderr
    assert Person(role="executive", public_key=done.stdout.strip())
