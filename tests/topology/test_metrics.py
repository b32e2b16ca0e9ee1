"""Metrics: what a scrape says is what the topics hold; labels stay bounded; nothing is served unasked."""

import socket
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from deploy import keys
from deploy.commands.policy_activate import sign
from deploy.settings import Settings, load_settings
from processors.draft import Output
from processors.policy import load_bundle
from schemas.catalogue import TOPIC_OF
from schemas.records import (
    AgentId,
    AgentRequest,
    Channel,
    Criterion,
    CriterionName,
    CrmEvent,
    CrmEventType,
    DeadLetterCode,
    Decision,
    EntryKind,
    JournalEntry,
    LeadId,
    Position,
    Reason,
    ReasonCode,
    RequestId,
    Revocation,
    RevocationScope,
    SpeechMode,
    Verdict,
)
from sinks import audit, crm
from sinks.consume import Reader
from streams import Broken
from streams.clock import DrivenClock
from streams.metrics import control, intake, serve, sinks
from streams.registry import connect
from streams.ticks import tick_entry
from tests.topology.intake_process import Topics, intake_process
from tests.topology.worker_process import WorkerProcess, entry_of, eventually, worker

S = 1_000_000
NOW = 1_767_607_200 * S
Labels = tuple[tuple[str, str], ...]


class Scrape:
    """Samples of one scrape."""

    def __init__(self, text: str) -> None:
        self._samples = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that bear these labels."""
        wanted = set(labels.items())
        return sum(value for (found, has), value in self._samples.items() if found == name and wanted <= set(has))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Samples of a name by one label, without those at 0."""
        found: Counter[str] = Counter()
        for (sample, has), value in self._samples.items():
            if sample == name:
                found[dict(has)[label]] += value  # type: ignore[assignment]
        return {key: value for key, value in found.items() if value}


def scrape(settings: Settings) -> Scrape:
    with urllib.request.urlopen(f"http://127.0.0.1:{settings.metrics_port}/metrics", timeout=5) as answer:
        return Scrape(answer.read().decode())


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


def served(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_port": free_port()})


# --- on a real broker


@pytest.fixture(scope="module")
def topics(stack: Settings) -> Topics:
    return Topics(stack, connect(stack))


def request(lead: str, role: str = "booking", action: str = "update_crm") -> AgentRequest:
    return AgentRequest(
        request_id=RequestId(f"request-{uuid.uuid4()}"), lead_id=LeadId(lead), agent_id=AgentId("agent-1"), role=role,
        action=action, channel=Channel.BACKEND, crm_fields={"availability": "mornings"},
        requested_at=time.time_ns() // 1000,
    )  # fmt: skip


def send_inputs(topics: Topics) -> None:
    """A policy, leads, requests of which some are permitted, and records that nobody can read."""
    stack, now = topics.settings, time.time_ns() // 1000
    topics.put(sign(stack, load_bundle(stack.policy_bundle), revision=7, reason="", approved_by="counsel"))
    for number in range(4):
        known = CrmEvent(
            event_id=f"known-{number}", lead_id=LeadId(f"lead-{number}"), type=CrmEventType.LEAD_UPSERTED,
            external_id=f"crm-{number}", time_zones=("America/New_York",), received_at=now,
        )  # fmt: skip
        topics.put(known, key=known.lead_id)
    journaled = eventually(lambda: len(topics.journal()) >= stack.partitions + 4)
    assert journaled
    for number in range(10):
        topics.put(request(f"lead-{number % 4}"), key=f"lead-{number % 4}")
    topics.put(request("lead-0", role="stranger", action="unheard_of"), key="lead-0")
    topics.put_bytes("agent.requests", b"\x00garbage")
    topics.put_bytes("execution.journal", b"\x00garbage")
    topics.put_bytes("crm.updates", b"\x00garbage")


def decisions(topics: Topics) -> list[Decision]:
    from streams.kafka import read_all

    return [topics.codec.decode(Decision, m.value()) for m in read_all(topics.settings, "permission.decisions")]


@pytest.fixture(scope="module")
def run(
    stack: Settings, topics: Topics, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, Settings, WorkerProcess]]:
    """A worker and an intake that have done what there was to do."""
    directory = tmp_path_factory.mktemp("processes")
    judging, taking = served(stack), served(stack)
    with intake_process(taking, directory / "intake.log"), worker(judging, directory) as running:
        running.wait_ready(lambda partitions: len(partitions) == stack.partitions)
        send_inputs(topics)
        eventually(lambda: len(decisions(topics)) >= 11)
        eventually(lambda: {letter.stage for _, letter in topics.dead_letters()} == {"intake", "control"})
        time.sleep(0.5)  # the landing of the last one, and its rows
        yield judging, taking, running


@pytest.mark.broker
def test_a_worker_counts_what_the_topics_hold(
    run: tuple[Settings, Settings, WorkerProcess], stack: Settings, topics: Topics
) -> None:
    seen, decided = scrape(run[0]), decisions(topics)
    verdicts = Counter(str(decision.verdict) for decision in decided)
    assert verdicts["PERMIT"] > 0
    assert verdicts["BLOCK"] > 0
    assert seen.by("mandate_decisions_total", "verdict") == dict(verdicts)
    assert seen.by("mandate_decisions_total", "role") == {"booking": 10, "other": 1}
    assert seen.by("mandate_decisions_total", "action") == {"update_crm": 10, "other": 1}
    codes = Counter(str(code) for d in decided for code in {reason.code for c in d.criteria for reason in c.reasons})
    assert seen.by("mandate_decision_reasons_total", "code") == dict(codes)
    assert seen.of("mandate_grants_signed_total") == sum(decision.grant is not None for decision in decided)
    kinds = seen.by("mandate_entries_total", "kind")
    assert (kinds["REQUEST"], kinds["CRM"], kinds["POLICY"], kinds["UNKNOWN"]) == (11, 4, stack.partitions, 1)
    assert seen.of("mandate_outputs_total", topic="permission.decisions") == len(decided)
    assert seen.of("mandate_dead_letters_total", stage="control", code="UNKNOWN_SCHEMA") == 1
    assert seen.of("mandate_decision_age_seconds_count") == len(decided)
    assert 0 < seen.of("mandate_decision_age_seconds_sum") < 60
    assert seen.of("mandate_request_age_seconds_count", answer="first") == 11


@pytest.mark.broker
def test_a_worker_shows_its_partitions_its_policy_and_that_it_is_not_behind(
    run: tuple[Settings, Settings, WorkerProcess], stack: Settings
) -> None:
    places = {str(number) for number in range(stack.partitions)}
    seen = scrape(run[0])
    assert seen.of("mandate_partitions_owned") == stack.partitions
    assert seen.by("mandate_policy_revision", "partition") == dict.fromkeys(places, 7.0)
    assert seen.of("mandate_leads_cached") == 4
    assert eventually(lambda: scrape(run[0]).of("mandate_journal_lag_records") == 0)
    assert seen.of("mandate_journal_lag_seconds") < 5
    assert seen.of("mandate_rebalances_total") >= 1
    assert seen.of("mandate_recovery_done") == 1
    assert seen.of("mandate_rows_written_total") > 0
    assert seen.of("mandate_changelog_bytes_total") > seen.of("mandate_rows_written_total")
    assert seen.of("mandate_landing_seconds_count", step="outputs") == seen.of(
        "mandate_landing_seconds_count", step="rows"
    )
    assert seen.of("process_resident_memory_bytes") > 1_000_000


@pytest.mark.broker
def test_an_intake_counts_what_it_admitted_and_refused(run: tuple[Settings, Settings, WorkerProcess]) -> None:
    seen = scrape(run[1])
    assert seen.by("mandate_intake_records_total", "topic") == {
        "policy.activations": 1, "crm.events": 4, "agent.requests": 12,
    }  # fmt: skip
    assert seen.by("mandate_intake_outcomes_total", "outcome") == {"admitted": 16, "refused": 1}
    assert seen.of("mandate_dead_letters_total", stage="intake", code="UNKNOWN_SCHEMA") == 1
    assert seen.of("mandate_intake_admission_seconds_count") == 17
    assert seen.of("mandate_intake_waiting") == 0


@pytest.mark.broker
def test_sinks_count_what_they_dealt_with(
    run: tuple[Settings, Settings, WorkerProcess], stack: Settings, topics: Topics, tmp_path: Path
) -> None:
    private = load_settings(data_dir=tmp_path, kafka_bootstrap=stack.kafka_bootstrap, registry_url=stack.registry_url)
    # Other tests may have run sinks in this process: what counts is what is added.
    before = _applied(), _undecoded_updates(), _audited(), _undecoded_entries()
    written = crm.serve(private, signers=keys.jwks(stack), approvers=keys.approvers(stack), once=True)
    permitted = sum(decision.grant is not None for decision in decisions(topics))
    assert written > permitted > 0
    assert _applied() - before[0] == permitted
    assert _undecoded_updates() - before[1] == 1
    assert (sinks.CRM.get_sample_value("mandate_crm_feed_age_seconds") or 0) < 30
    landed = audit.serve(private, once=True)
    assert _audited() - before[2] == landed
    assert _undecoded_entries() - before[3] == 1


def _applied() -> float:
    return sinks.CRM.get_sample_value("mandate_crm_updates_total", {"result": "APPLIED"}) or 0


def _undecoded_updates() -> float:
    labels = {"stage": "crm-sink", "code": "UNKNOWN_SCHEMA"}
    return sinks.CRM.get_sample_value("mandate_dead_letters_total", labels) or 0


def _audited() -> float:
    families = {family.name: family for family in sinks.AUDIT.collect()}
    return sum(sample.value for sample in families["mandate_audit_records"].samples if sample.name.endswith("_total"))


def _undecoded_entries() -> float:
    return sinks.AUDIT.get_sample_value("mandate_audit_undecoded_total", {"topic": "execution.journal"}) or 0


@pytest.mark.broker
def test_a_reader_shows_what_it_has_not_read(
    run: tuple[Settings, Settings, WorkerProcess], stack: Settings, topics: Topics
) -> None:
    gauge = Gauge("lag", "Lag.", ["topic"], registry=CollectorRegistry())
    reader = Reader(stack, "lag", ("dead.letters",))
    try:
        reader.begin({})
        assert len(eventually(lambda: reader.read(1, 1.0))) == 1
        reader.show_lag(gauge)
        assert gauge.labels("dead.letters")._value.get() == len(topics.dead_letters()) - 1 > 0
    finally:
        reader.close()


@pytest.mark.broker
def test_a_second_worker_is_seen_by_the_stall_of_the_first_and_by_what_it_restores(
    run: tuple[Settings, Settings, WorkerProcess], stack: Settings, tmp_path: Path
) -> None:
    first, second = run[0], served(stack.model_copy(update={"state_dir": tmp_path / "state"}))
    with worker(second, tmp_path) as joining:
        mine = joining.wait_ready(lambda partitions: 0 < len(partitions) < stack.partitions)
        run[2].wait_ready(lambda partitions: len(partitions) == stack.partitions - len(mine))
        seen, joined = scrape(first), scrape(second)
    assert seen.of("mandate_partitions_owned") + joined.of("mandate_partitions_owned") == stack.partitions
    assert seen.of("mandate_rebalance_stall_seconds_count") >= 1
    assert 0 < seen.of("mandate_rebalance_stall_seconds_sum") < 30
    assert joined.of("mandate_recovery_rows_total") > 0
    assert (joined.of("mandate_recovery_done"), joined.of("mandate_recovery_remaining_records")) == (1, 0)


# --- without a broker


class _Fold:
    """A fold that has applied entries up to 9 and knows one role and one action."""

    applied_offset: int | None = 9
    leads_at_hand = 3
    law = SimpleNamespace(revision=5, bundle=SimpleNamespace(roles={"booking": None}, actions={"send_message": None}))


def metered() -> tuple[control.Meter, DrivenClock]:
    clock = DrivenClock()
    clock.observe(NOW)
    return control.Meter(0, _Fold(), clock), clock  # type: ignore[arg-type]  # a law is more than what is asked of it


def record(offset: int) -> SimpleNamespace:
    return SimpleNamespace(offset=offset, timestamp_ms=NOW // 1000)


def decision(**changes: object) -> Decision:
    given: dict[str, object] = {
        "decision_id": "d", "request_id": "r", "lead_id": "l", "agent_id": "a", "role": "booking",
        "action": "send_message", "channel": Channel.SMS, "verdict": Verdict.BLOCK, "speech_mode": SpeechMode.OPEN,
        "policy_version": "", "policy_digest": "", "position": Position(partition=0, offset=10), "requested_at": NOW,
        "at": NOW,
    }  # fmt: skip
    return Decision(**{**given, **changes})  # type: ignore[arg-type]


def sample(name: str, **labels: str) -> float:
    return control.REGISTRY.get_sample_value(name, labels) or 0.0


def judge_one(meter: control.Meter, output: Decision | Revocation, offset: int = 10) -> control.Noted:
    asked = AgentRequest(
        request_id=RequestId("r"), lead_id=LeadId("l"), agent_id=AgentId("a"), role="booking", action="send_message",
        channel=Channel.SMS, requested_at=NOW,
    )  # fmt: skip
    meter.arrived([record(offset)])
    meter.judged(record(offset), entry_of(asked, NOW), [Output("o", "k", output)])
    return meter.land()


def test_nothing_is_counted_before_the_broker_has_it() -> None:
    meter, clock = metered()
    name, labels = "mandate_decisions_total", {"verdict": "BLOCK", "role": "booking", "action": "send_message"}
    before, entries = sample(name, **labels), sample("mandate_entries_total", kind="REQUEST")
    noted = judge_one(meter, decision())
    assert sample(name, **labels) == before
    aged = sample("mandate_decision_age_seconds_sum")
    clock.observe(NOW + 2 * S)
    meter.acknowledged(noted)
    assert sample(name, **labels) == before + 1
    assert sample("mandate_decision_age_seconds_sum") == pytest.approx(aged + 2)
    assert sample("mandate_entries_total", kind="REQUEST") == entries
    meter.applied(noted, 10)
    assert sample("mandate_entries_total", kind="REQUEST") == entries + 1


@pytest.mark.parametrize("strange", [{"role": "me-" + "x" * 99}, {"action": "lead-4711"}])
def test_a_role_or_an_action_that_the_policy_does_not_name_makes_no_label(strange: dict[str, str]) -> None:
    meter, _ = metered()
    labels = {"verdict": "BLOCK", "role": "booking", "action": "send_message"} | dict.fromkeys(strange, "other")
    before = sample("mandate_decisions_total", **labels)
    meter.acknowledged(judge_one(meter, decision(**strange)))
    assert sample("mandate_decisions_total", **labels) == before + 1


def test_an_agent_with_a_wrong_clock_does_not_carry_the_age_away() -> None:
    meter, _ = metered()
    before = sample("mandate_request_age_seconds_sum", answer="first")
    meter.acknowledged(judge_one(meter, decision(requested_at=0)))
    meter.acknowledged(judge_one(meter, decision(requested_at=NOW + 10**9 * S)))
    assert sample("mandate_request_age_seconds_sum", answer="first") == before + 3600


def test_lag_is_what_was_read_or_stands_in_the_journal_and_is_not_applied() -> None:
    meter, clock = metered()
    assert (meter.lag(None), meter.lag(10), meter.lag(25), meter.lag_s()) == (0, 0, 15, 0.0)
    noted = judge_one(meter, decision())
    clock.observe(NOW + 3 * S)
    assert (meter.lag(None), meter.lag_s()) == (1, 3.0)
    meter.arrived([record(11), record(12)])
    meter.acknowledged(noted)
    assert meter.lag(None) == 3
    meter.applied(noted, 10)
    assert (meter.lag(None), meter.lag_s()) == (2, 0.0)
    assert (meter.revision, meter.leads) == (5, 3)


def test_revocations_are_counted_by_scope_and_code_and_heartbeats_are_not() -> None:
    meter, _ = metered()
    fell = Revocation(
        revocation_id="x", scope=RevocationScope.GRANT, subject="g", lead_id=LeadId("l"), epoch=0,
        code=ReasonCode.FACT_CHANGED, message="", position=Position(partition=0, offset=10), at=NOW,
    )  # fmt: skip
    beat = Revocation(
        revocation_id="y", scope=RevocationScope.HEARTBEAT, subject="0", lead_id=LeadId(""), epoch=0,
        code=ReasonCode.UNKNOWN, message="", position=Position(partition=0, offset=11), at=NOW,
    )  # fmt: skip
    before = sample("mandate_revocations_total", scope="GRANT", code="FACT_CHANGED")
    meter.acknowledged(judge_one(meter, fell))
    meter.acknowledged(judge_one(meter, beat, 11))
    assert sample("mandate_revocations_total", scope="GRANT", code="FACT_CHANGED") == before + 1
    assert sample("mandate_revocations_total", scope="HEARTBEAT", code="UNKNOWN") == 0


def test_a_dead_letter_is_an_entry_of_unknown_kind() -> None:
    meter, _ = metered()
    before = sample("mandate_entries_total", kind=EntryKind.UNKNOWN)
    meter.arrived([record(10)])
    meter.unread(record(10), DeadLetterCode.NOT_AVRO)
    noted = meter.land()
    meter.acknowledged(noted)
    meter.applied(noted, 10)
    assert sample("mandate_dead_letters_total", stage="control", code="NOT_AVRO") >= 1
    assert sample("mandate_entries_total", kind=EntryKind.UNKNOWN) == before + 1


def test_counting_costs_little_beside_judging() -> None:
    asked = entry_of(request("lead-0"), NOW)
    codes = (ReasonCode.MIN_GAP, ReasonCode.OPT_OUT, ReasonCode.CASE_OPEN)
    answered = decision(
        criteria=[
            Criterion(name=name, verdict=Verdict.BLOCK, reasons=(Reason(code=code, rule_id="r", message=""),))
            for name, code in zip(CriterionName, codes, strict=True)
        ]
    )
    others = [Output("o", "k", tick_entry(0, NOW))] * 2
    place, costs_us = record(10), []
    for _ in range(5):
        meter, _ = metered()
        began = time.perf_counter()
        for _ in range(50):
            meter.arrived([record(10)])
            for number in range(100):
                first = answered if number % 10 == 0 else others[0].value
                meter.judged(place, asked, [Output("o", "k", first), *others])
            noted = meter.land()
            meter.acknowledged(noted)
            meter.applied(noted, 10)
        costs_us.append((time.perf_counter() - began) / 5_000 * 1e6)
    print(f"counting: {min(costs_us):.1f} us an entry")
    assert min(costs_us) < 5


def test_a_record_that_gives_several_entries_is_admitted_once() -> None:
    meter = intake.Meter()
    journal, receipt = TOPIC_OF[JournalEntry], object()
    before = intake.REGISTRY.get_sample_value("mandate_intake_outcomes_total", {"outcome": "admitted"}) or 0
    meter.sending([SimpleNamespace(topic=journal, headers=[], receipt=receipt)] * 4, None, NOW)
    meter.count(waiting=2)
    assert intake.REGISTRY.get_sample_value("mandate_intake_outcomes_total", {"outcome": "admitted"}) == before + 1
    assert intake.REGISTRY.get_sample_value("mandate_intake_waiting") == 2


def test_a_feed_of_which_one_partition_is_unknown_is_infinitely_old() -> None:
    sinks.crm_feed([NOW, NOW - 2 * S], NOW + S)
    assert sinks.CRM.get_sample_value("mandate_crm_feed_age_seconds") == 3
    sinks.crm_feed([NOW, None], NOW)
    assert sinks.CRM.get_sample_value("mandate_crm_feed_age_seconds") == float("inf")


def test_without_a_port_nothing_is_served_and_a_port_in_use_is_told() -> None:
    registry = CollectorRegistry()
    Gauge("some", "Some.", registry=registry).set(3)
    assert load_settings().metrics_port == 0
    serve(load_settings(), registry)
    settings = load_settings(metrics_port=free_port())
    serve(settings, registry)
    assert scrape(settings).of("some") == 3
    with pytest.raises(Broken, match=rf"127\.0\.0\.1:{settings.metrics_port} .*in use.*MANDATE_METRICS_PORT"):
        serve(settings, registry)
