"""Lint: each kind of problem in a bundle is found, at its line; what is fine is left in peace."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import date
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import yaml

from processors.facts import scoped
from processors.hearing import Hearing, Situation
from processors.law import Law
from processors.lint import Problem, lint
from processors.lint.states import Demand, Pair, State, demands, domain, is_about, pairs
from processors.plan import Plan
from processors.policy import Bundle, PolicyError, load_bundle
from schemas.records import AgentId, AgentRequest, ConversationId, Fact, LeadId, RequestId

SMALL = Path(__file__).parent / "bundles" / "small"
DEFAULT = Path(__file__).parents[2] / "deploy" / "policy" / "default"
TODAY = date(2026, 11, 21)
NEVER, ALWAYS = "it can never fire", "it always fires"


def problems_of(directory: Path, *changes: tuple[str, str]) -> list[tuple[Problem, str]]:
    """Problems of the small bundle with pieces of its text exchanged, each with the text of its line."""
    text = (SMALL / "bundle.yaml").read_text(encoding="utf-8")
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the small bundle"
        text = text.replace(old, new)
    (directory / "bundle.yaml").write_text(text, encoding="utf-8")
    lines = text.splitlines()
    return [(problem, lines[problem.place.line - 1]) for problem in lint(directory, TODAY)]


def test_the_bundles_that_ship_and_the_small_one_have_no_problems() -> None:
    assert [p for p in lint(DEFAULT, TODAY) if not p.is_warning] == []
    assert lint(SMALL, TODAY) == []


def test_agents_that_anybody_could_be_are_a_warning_and_a_key_of_two_agents_is_a_problem(tmp_path: Path) -> None:
    required, key, other = "identity: {required: true}", "B" * 43, "C" * 43
    one = f"one: {{roles: [closing], public_keys: {{k1: {key}, k2: {other}}}}}"

    def found(identity: str) -> list[tuple[str, str, bool]]:
        problems = problems_of(tmp_path, (required, identity))
        return [(p.about, p.sentence.partition(":")[0], p.is_warning) for p, _ in problems]

    assert found(f"agents: {{{one}}}\n{required}") == []
    assert found("identity: {required: false}") == [
        ("identity.required", "an agent that `agents` does not name is heard unsigned", True)
    ]
    assert found(f"agents: {{one: {{roles: [closing], public_keys: {{}}}}}}\n{required}") == [
        ("agent one", "nobody can act as it", True)
    ]
    assert found(f"agents: {{{one}, two: {{roles: [closing], public_keys: {{k1: {other}}}}}}}\n{required}") == [
        ("agent two", "its key k1 is also a key of one", False)
    ]
    for wrong in (f"roles: [closer], public_keys: {{k1: {key}}}", "roles: [closing], public_keys: {k1: short}"):
        assert [about for about, *_ in found(f"agents: {{one: {{{wrong}}}}}\n{required}")] == ["agent one"]


ASKED = "check: {kind: fact_not_in, fact: intent.scope, values: [confirmed]}"
DISCLOSED = "check: {kind: obligation_met, obligation: disclose_ai}"
DISCOUNT = """cel: 'request.ints["discount_bp"] <= role.max_discount_bp'"""
OBJECTION = "check: {kind: fact_absent, fact: objection.open}"
CLOSING = "actions: [offer, hand_over]"


def condition(cel: str) -> str:
    return f"check: {{kind: condition, cel: '{cel}'}}"


@pytest.mark.parametrize(
    ("change", "about", "sentence", "line"),
    [
        # --- names and values that lead nowhere
        ((ASKED, "check: {kind: fact_absent, fact: intnt.scope}"), "rule asked", "no fact 'intnt.scope'", "intnt"),
        ((ASKED, "check: {kind: fact_absent, fact: intent.scpoe}"), "rule asked", "did you mean 'scope'", "scpoe"),
        ((ASKED, "check: {kind: fact_present, fact: refused.kiss}"), "rule asked", "has the effect 'kiss'", "kiss"),
        ((ASKED, "check: {kind: fact_present, fact: consent.fax.x}"), "rule asked", "no channel 'fax'", "fax"),
        ((ASKED, "check: {kind: fact_absent, fact: case.boredom}"), "rule asked", "cause 'boredom'", "boredom"),
        ((ASKED, "check: {kind: fact_in, fact: intent.scope, values: [yes please, confirmed]}"), "rule asked",
         "intent.scope is never 'yes please'", "yes please"),
        ((ASKED, "check: {kind: intent_confirmed, intent: love}"), "rule asked", "confirms", "love"),
        ((ASKED, condition('"intent.scoop" in facts')), "rule asked", "intent", "intent.scoop"),
        ((ASKED, condition('!("intent.scope" in facts) || facts["intent.scope"] != "yes"')), "rule asked",
         "intent.scope is never 'yes'", "cel"),
        ((ASKED, condition('!("intent.scope" in facts) || !(facts["intent.scope"] in ["confirmed", "no"])')),
         "rule asked", "intent.scope is never 'no'", "cel"),
        ((DISCLOSED, "check: {kind: obligation_met, obligation: wink}"), "rule disclosed", "'wink'", "wink"),
        (("{fact: intent.scope, values: [confirmed]}\n", "{fact: intent.skope, values: [confirmed]}\n"),
         "stage closing", "unknown fact", "skope"),
        (("establishes: {intent.offer: confirmed}", "establishes: {deal.done: confirmed}"), "action offer",
         "no fact 'deal.done'", "deal.done"),
        (("resume_when: [objection.open]", "resume_when: [objections]"), "rule objections",
         "waits for a fact that never comes", "resume_when"),
        (("cool_off_effects: [contact]", "cool_off_effects: [contacts]"), "contact.cool_off_effects", "'contacts'",
         "contacts"),
        (("restrain_from: 0.3", "restrain_from: 0.3\n  valid_for_s: {scop: 60}"), "signals.valid_for_s",
         "unknown fact", "scop"),
        (("phrases:", "cut_off: {roles: [opener]}\nphrases:"), "cut_off.roles", "no role 'opener'", "opener"),
        ((CLOSING, "actions: [offers, hand_over]"), "role closing", "no action 'offers'", "offers"),
        (("actions: [ask_scope, offer]", "actions: [ask_scoop, offer]"), "rule disclosed", "no action 'ask_scoop'",
         "ask_scoop"),
        (("suspends: [offer]\n    deadline_s: 3600\n    message: The buyer", "suspends: [sell]\n    deadline_s: 3600\n"
          "    message: The buyer"), "trigger asks_for_human", "no action 'sell'", "sell"),
        # --- what the types refuse
        ((DISCOUNT, """cel: 'request.ints["discount_bp"] <= "10"'"""), "rule discount", "CEL, column 29", "cel"),
        ((DISCOUNT, "cel: 'facts[request.action] == request.role'"), "rule discount", "literal text", "cel"),
        (("    kind: question\n", ""), "action ask_scope", "kind: Field required", "ask_scope"),
        (("wait_s: 86400", "wait_s: 1000000"), "rule hours", "wait_s: Input should be less than", "wait_s"),
        (("kind: calling_hours", "kind: lunch_hours"), "rule hours", "lunch_hours", "lunch_hours"),
        (("    wait_s: 120\n", ""), "rule objections", "states wait_s", "id: objections"),
        (("effect: discount", "effect: discount\n    effect: price"), "effect", "twice", "effect: price"),
        # --- rules that decide nothing
        (("actions: [call]\n", "actions: [call]\n    roles: [closing]\n"), "rule hours",
         f"{NEVER}: no role of closing may ask for call", "id: hours"),
        ((ASKED, "check: {kind: fact_not_in, fact: intent.scope, values: [sure]}"), "rule asked", NEVER, "check"),
        ((ASKED, condition('"intent.scope" in facts || !("intent.scope" in facts)')), "rule asked", NEVER, "cel"),
        ((DISCOUNT, "cel: 'role.max_discount_bp == 1000'"), "rule discount", NEVER, "cel"),
        (("check: {kind: conversation_live}", "actions: [call]\n    check: {kind: conversation_live}"), "rule live",
         NEVER, "check"),
        (("check: {kind: action_in_role}", "actions: [hand_over]\n    check: {kind: action_in_role}"),
         "rule role-action", NEVER, "role-action"),
        ((ASKED, "check: {kind: fact_in, fact: intent.scope, values: [sure]}"), "rule asked", ALWAYS, "check"),
        ((ASKED, condition('facts["intent.scope"] == "confirmed" && facts["intent.scope"] == "paused"')),
         "rule asked", ALWAYS, "cel"),
        ((DISCOUNT, """cel: 'request.ints["bp"] > 500 && request.ints["bp"] < 400'"""), "rule discount", ALWAYS, "cel"),
        (("check: {kind: action_in_role}", "actions: [call]\n    roles: [closing]\n    check: {kind: action_in_role}"),
         "rule role-action", ALWAYS, "role-action"),
        # --- contradictions
        ((OBJECTION, "check: {kind: fact_not_in, fact: intent.scope, values: [confirmed]}"), "action offer",
         "no state permits it to closing: intent.scope is confirmed, final (rule stage) and is not confirmed (rule "
         "objections)", "offer:"),
        ((OBJECTION, condition('facts["intent.scope"] == "paused"')), "action offer",
         "the condition of rule objections is false wherever the others hold", "offer:"),
        ((OBJECTION, condition('!final["intent.scope"]')), "action offer", "rule objections is false", "offer:"),
        (("obligations: [disclose_ai]", "obligations: []"), "action ask_scope",
         "the roles contradict each other: booking needs obligation.disclose_ai", "ask_scope:"),
        ((OBJECTION, "check: {kind: fact_in, fact: meeting, values: [scheduled]}"), "action offer",
         "closing needs meeting for it (rule objections)", "offer:"),
        # --- defers, finality, permits on nothing
        (("code: ACTION_OUTSIDE_ROLE", "code: ACTION_OUTSIDE_ROLE\n    on_fail: DEFER\n    wait_s: 60"),
         "rule role-action", "it defers without end", "role-action"),
        (("code: DISCOUNT_ABOVE_AUTHORITY\n", "code: DISCOUNT_ABOVE_AUTHORITY\n    on_fail: DEFER\n    wait_s: 60\n"),
         "rule discount", "it defers without end", "discount"),
        (("stage: contact\n    effect: scope_question", "stage: contact\n    effect: scope_question\n"
          "    irreversible: true"), "action ask_scope", "it is irreversible, and no rule has it rest on final words",
         "ask_scope"),
        (("    safe: true\n", ""), "action hand_over",
         "booking or closing could be permitted it though nothing is known of the lead", "hand_over"),
        (("check: {kind: calling_hours}", condition('!("risk" in facts) || facts["risk"] != "high"')), "action call",
         "a permit path rests on missing facts", "call"),
        (("code: DO_NOT_CONTACT", "code: DO_NOT_CONTACT\n    overridable: true"), "rule do-not-contact",
         "nobody can override an opt-out", "overridable"),
        # --- windows, words, triggers
        (('start: "12:00", end: "21:00"', 'start: "21:00", end: "12:00"'), "contact.jurisdictions.US-TX.windows",
         "the window 21:00-12:00 never opens", "21:00"),
        (("days: [mon, sun]", "days: []"), "contact.jurisdictions.US-TX.windows", "no window of it ever opens", "[]"),
        (("days: [mon, sun]", "days: [sun]"), "contact.jurisdictions.US-TX.windows",
         "its windows and those of US are never open together", "sun"),
        (("    assumptive: [since", "    pushy: [now or never]\n    assumptive: [since"), "dialogue.wording.pushy",
         "no speech mode bars", "pushy"),
        (("    codes: [DISCOUNT_ABOVE_AUTHORITY]", "    codes: [PRICE_ABOVE_AUTHORITY]"), "trigger above_authority",
         "no rule has the code PRICE_ABOVE_AUTHORITY", "cause: above_authority"),
        (("    codes: [DISCOUNT_ABOVE_AUTHORITY]", "    signals: [ASKS_FOR_HUMAN]"), "trigger above_authority",
         "ASKS_FOR_HUMAN opens a case of asks_for_human before", "cause: above_authority"),
    ],
)  # fmt: skip
def test_it_finds(tmp_path: Path, change: tuple[str, str], about: str, sentence: str, line: str) -> None:
    found = problems_of(tmp_path, change)
    wanted = [(p, text) for p, text in found if p.about.startswith(about) and sentence in p.sentence]
    assert wanted, f"not found; but: {[p[1:] for p, _ in found]}"
    problem, text = wanted[0]
    assert problem.place.file == tmp_path / "bundle.yaml"
    assert line in text
    assert not problem.is_warning


@pytest.mark.parametrize(
    "changes",
    [
        # CEL that nobody can decide by trying: lint keeps silent.
        [(ASKED, condition('!("intent.scope" in facts) || facts["intent.scope"].startsWith("c")'))],
        [(ASKED, condition('now > timestamp("2020-01-01T00:00:00Z")'))],
        [(ASKED, condition('[1, 2].all(n, n < 3)'))],
        # It holds in some state and fails in another.
        [(ASKED, condition('!("contact.attempts" in facts) || facts["contact.attempts"] != "9"'))],
        [(ASKED, condition("attempts < 5"))],
        [(ASKED, condition('request.channel == "VOICE"'))],
        [(ASKED, condition('"intent.scope" in confidence && confidence["intent.scope"] > 0.5'))],
        [(ASKED, condition('!("risk" in facts) || age_s["risk"] > 3600'))],
        [(ASKED, condition('request.tool == "" && request.max_tokens <= 400'))],
        # A fact that the outcome of an action brings.
        [(OBJECTION, "check: {kind: fact_not_in, fact: intent.offer, values: [confirmed]}")],
        # Finality by other means than a stage.
        [("effect: scope_question", "effect: scope_question\n    irreversible: true"),
         (ASKED, "check: {kind: fact_in, fact: contact.reached, values: [\"yes\"], final: true}")],
        [("effect: scope_question", "effect: scope_question\n    irreversible: true"),
         (ASKED, condition('"contact.reached" in final && final["contact.reached"]'))],
        # Dates.
        [("code: ALREADY_CONFIRMED", "code: ALREADY_CONFIRMED\n    effective_from: 2026-01-01")],
        # A case that an expired defer opens; a family of facts in a trigger.
        [(ASKED, "check: {kind: fact_absent, fact: case.defer_expired_offer}")],
        [("    signals: [ASKS_FOR_HUMAN]", "    facts: [{fact: conflict.*, values: [\"yes\"]}]")],
        # A defer that time or a fact cures.
        [("check: {kind: action_in_role}", condition("attempts < 5")),
         ("code: ACTION_OUTSIDE_ROLE", "code: CONDITION_NOT_MET\n    on_fail: DEFER\n    wait_s: 60")],
    ],
)  # fmt: skip
def test_it_leaves_in_peace(tmp_path: Path, changes: list[tuple[str, str]]) -> None:
    assert [problem[1:] for problem, _ in problems_of(tmp_path, *changes)] == []


@pytest.mark.parametrize(
    "changes",
    [
        [("    safe: true", "    safe: true\n    takes_floor: false"),
         ("check: {kind: conversation_live}", "actions: [hand_over]\n    check: {kind: floor_free}")],
        [("consent: {VOICE: [EXPRESS_WRITTEN], CHAT: [EXPRESS]}", "consent: {EMAIL: [EXPRESS]}"),
         ("check: {kind: conversation_live}", "check: {kind: consent}")],
        [("check: {kind: conversation_live}", "check: {kind: retries}")],
        [(", wording_barred: [assumptive]", ""), ("check: {kind: conversation_live}", "check: {kind: wording}")],
    ],
    ids=["floor", "consent", "retries", "wording"],
)  # fmt: skip
def test_a_check_that_the_rest_of_the_bundle_leaves_idle_can_never_fire(
    tmp_path: Path, changes: list[tuple[str, str]]
) -> None:
    found = problems_of(tmp_path, *changes)
    assert ("rule live", "it can never fire: its check holds in every state") in [p[1:3] for p, _ in found]


def test_a_condition_that_can_be_true_on_interim_words_gives_no_finality(tmp_path: Path) -> None:
    irreversible = ("effect: scope_question", "effect: scope_question\n    irreversible: true")
    either = condition('request.channel == "CHAT" || ("contact.reached" in final && final["contact.reached"])')
    found = problems_of(tmp_path, irreversible, (ASKED, either))
    assert [problem.about for problem, _ in found] == ["action ask_scope"]
    assert "final words" in found[0][0].sentence


def test_a_rule_that_ended_is_a_warning(tmp_path: Path) -> None:
    found = problems_of(tmp_path, ("code: ALREADY_CONFIRMED", "code: ALREADY_CONFIRMED\n    effective_to: 2026-11-20"))
    assert [(p.about, p.sentence, p.is_warning) for p, _ in found] == [("rule asked", "it ended on 2026-11-20", True)]


def test_a_contradiction_that_begins_later_is_found_today(tmp_path: Path) -> None:
    bad = "check: {kind: fact_not_in, fact: intent.scope, values: [confirmed]}\n    effective_from: 2027-01-01"
    found = problems_of(tmp_path, (OBJECTION, bad))
    assert ["no state permits it to closing" in problem.sentence for problem, _ in found] == [True]


def test_all_problems_are_told_at_once_by_line(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path,
        (OBJECTION, "check: {kind: fact_absent, fact: objctn}"),
        (CLOSING, "actions: [offer, hand_over, sing]"),
        ("    safe: true\n", ""),
        ("days: [mon, sun]", "days: [sun]"),
    )
    assert [(problem.about, text.strip()) for problem, text in found] == [
        ("action hand_over", "hand_over:"),
        ("role closing", "actions: [offer, hand_over, sing]"),
        ("contact.jurisdictions.US-TX.windows", 'windows: [{days: [sun], start: "12:00", end: "21:00"}]'),
        ("rule objections", "check: {kind: fact_absent, fact: objctn}"),
    ]


def test_refused_parts_are_told_together_with_what_is_wrong_in_others(tmp_path: Path) -> None:
    found = problems_of(
        tmp_path,
        ("    kind: question\n", ""),
        ("wait_s: 86400", "wait_s: soon"),
        ("message: The scope is confirmed.", "message: The scope is confirmed.\n    colour: red"),
        (OBJECTION, "check: {kind: fact_absent, fact: objctn}"),
        ("days: [mon, sun]", "days: [sun]"),
    )
    assert [(problem.about, text.strip()) for problem, text in found] == [
        ("action ask_scope", "ask_scope:"),
        ("contact.jurisdictions.US-TX.windows", 'windows: [{days: [sun], start: "12:00", end: "21:00"}]'),
        ("rule asked", "colour: red"),
        ("rule objections", "check: {kind: fact_absent, fact: objctn}"),
        ("rule hours", "wait_s: soon"),
    ]


def test_a_part_that_is_refused_is_not_told_as_missing(tmp_path: Path) -> None:
    found = problems_of(tmp_path, ("    kind: question\n", ""))
    assert [problem[1:3] for problem, _ in found] == [("action ask_scope", "kind: Field required")]


def test_a_directory_without_a_readable_bundle_is_a_problem(tmp_path: Path) -> None:
    assert [p.sentence for p in lint(tmp_path, TODAY)] == ["no .yaml files; a policy bundle is a directory of them"]
    (tmp_path / "bad.yaml").write_text("version: 1\nrules: [\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    assert [(p.place.file.name, p.place.line) for p in lint(tmp_path, TODAY)] == [("bad.yaml", 3), ("list.yaml", 1)]


def _paths(part: Any, steps: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
    for step, below in items:
        yield (*steps, step)
        yield from _paths(below, (*steps, step))


@pytest.mark.parametrize("wrong", ["left out", []], ids=str)
def test_whatever_is_wrong_lint_tells_what_loading_refuses_and_never_fails(tmp_path: Path, wrong: Any) -> None:
    whole = yaml.safe_load((SMALL / "bundle.yaml").read_text(encoding="utf-8"))
    whole["rules"], whole["triggers"] = whole["rules"][:2], whole["triggers"][:1]
    refused = 0
    for *steps, last in list(_paths(whole))[::3]:
        broken = deepcopy(whole)
        part = reduce(getitem, steps, broken)
        if wrong == "left out":
            del part[last]
        else:
            part[last] = wrong
        (tmp_path / "bundle.yaml").write_text(yaml.safe_dump(broken, sort_keys=False), encoding="utf-8")
        found = [problem for problem in lint(tmp_path, TODAY) if not problem.is_warning]
        try:
            load_bundle(tmp_path)
        except PolicyError:
            refused += 1
            assert found, f"{[*steps, last]}"
    assert refused > 10


def test_a_key_in_two_files_is_a_problem_of_the_second(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("# a comment\nversion: two\n", encoding="utf-8")
    found = [problem for problem, _ in problems_of(tmp_path)]
    assert [(p.place.file.name, p.place.line, p.about) for p in found] == [("other.yaml", 2, "version")]


def test_an_unquoted_date_is_a_date(tmp_path: Path) -> None:
    text = (SMALL / "bundle.yaml").read_text(encoding="utf-8")
    text = text.replace("code: ALREADY_CONFIRMED", "code: ALREADY_CONFIRMED\n    effective_to: 2027-03-01")
    (tmp_path / "bundle.yaml").write_text(text, encoding="utf-8")
    rule = next(rule for rule in load_bundle(tmp_path).rules if rule.id == "asked")
    assert rule.effective_to == date(2027, 3, 1)


@pytest.mark.parametrize("directory", [SMALL, DEFAULT], ids=["small", "default"])
def test_the_model_of_a_check_says_what_the_check_says(directory: Path) -> None:
    bundle = load_bundle(directory)
    law = Law(bundle, bundle.digest())
    compared = 0
    for pair in pairs(bundle):
        for rule in bundle.rules:
            asked = [d for d in demands(bundle, rule, pair) or () if not _is_implied(rule.check.kind, d.fact)]
            for demand in asked if is_about(rule, pair) else ():
                for state in domain(bundle, demand.fact):
                    rest = {other.fact: _allowed(bundle, other) for other in asked}
                    heard = _hearing(law, pair, {**rest, demand.fact: state})
                    holds = not Plan([rule]).findings(heard)
                    assert holds is demand.allows(state), f"{rule.id}, {demand.fact}: {state}"
                    compared += 1
    assert compared > 50


def _is_implied(kind: str, fact: str) -> bool:
    """A stage is derived from the facts that earn it; a request may be about each channel of its role."""
    return (kind == "stage_reached" and fact != "stage") or fact == "conversation.channel"


def _allowed(bundle: Bundle, demand: Demand) -> State | None:
    return next(state for state in domain(bundle, demand.fact) if demand.allows(state))


def _hearing(law: Law, pair: Pair, states: dict[str, State | None]) -> Hearing:
    channel = law.bundle.roles[pair.role].channels[0]
    request = AgentRequest(
        request_id=RequestId("r"), lead_id=LeadId("l"), conversation_id=ConversationId("c"), agent_id=AgentId("a"),
        role=pair.role, action=pair.action, channel=channel, requested_at=1,
    )  # fmt: skip
    states = {"conversation.channel": State(channel, True), **states}
    facts = {
        scoped(name, ConversationId("c")): Fact(value=state.value, version=1, offset=1, at=1, final=state.final)
        for name, state in states.items()
        if state is not None
    }
    return Hearing(request, Situation(facts, (), 1, law), law, 1)
