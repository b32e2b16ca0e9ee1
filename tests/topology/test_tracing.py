"""Spans: a real collector's protocol on loopback, real intake, control and CRM sink; off, nothing of it is loaded."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.settings import Settings
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec
from schemas.headers import Headers
from schemas.records import AgentRequest, Decision
from streams import Broken
from streams.kafka import Consumed, make_producer
from streams.registry import connect
from streams.sender import Sender
from streams.tracing import make_spans
from tests.agents.records import request
from tests.topology.collector import Collector, Seen
from tests.topology.intake_process import intake_process
from tests.topology.worker_process import ROOT, Journal, eventually, worker

pytestmark = pytest.mark.broker
TRACE = uuid.uuid4().hex
PARENT = "b7ad6b7169203331"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def traced(stack: Settings, collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of processes that make spans; the variables are OpenTelemetry's own."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    return stack.model_copy(update={"tracing": True, "state_dir": tmp_path / "state"})


def ask(settings: Settings, codec: Codec) -> AgentRequest:
    """A request as an agent sends it, in a trace."""
    asked = request(f"request-{uuid.uuid4()}", lead_id=f"lead-{uuid.uuid4()}")
    sender = Sender(make_producer(settings))
    headers: Headers = [("traceparent", TRACEPARENT.encode())]
    sender.send(TOPIC_OF[AgentRequest], codec.encode(asked), key=asked.lead_id, headers=headers)
    sender.flush()
    return asked


def test_a_request_leaves_a_span_of_intake_and_one_of_control_with_its_verdict_under_the_agents_own(
    traced: Settings, collector: Collector, tmp_path: Path
) -> None:
    codec = connect(traced)
    with intake_process(traced, tmp_path / "intake.log"), worker(traced, tmp_path) as control:
        control.wait_ready(lambda partitions: len(partitions) == traced.partitions)
        asked = ask(traced, codec)
        eventually(lambda: collector.of("mandate-intake", TRACE) and collector.of("mandate-control", TRACE))
    (taken,), (judged,) = collector.of("mandate-intake", TRACE), collector.of("mandate-control", TRACE)
    assert (taken.name, judged.name) == ("process agent.requests", "process execution.journal")
    assert {taken.parent, judged.parent} == {PARENT}
    assert 0 < judged.took_ns < 10_000_000_000
    journal = Journal(traced, codec)
    decided = [codec.decode(Decision, m.value()) for m in journal.records(TOPIC_OF[Decision], _partition(judged))]
    (decision,) = [decision for decision in decided if decision.request_id == asked.request_id]
    told = judged.attributes
    assert (told["mandate.request_id"], told["mandate.verdict"]) == (asked.request_id, decision.verdict.value)
    assert told["messaging.kafka.offset"] == decision.position.offset
    assert decision.traceparent == TRACEPARENT  # the agent's own span, not one of ours
    assert asked.lead_id not in str(judged) + str(taken)


def _partition(span: Seen) -> int:
    return int(span.attributes["messaging.destination.partition.id"])


def test_a_collector_that_is_away_stops_nothing(
    stack: Settings, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    spans = make_spans(stack.model_copy(update={"tracing": True}), "mandate-test")
    assert spans is not None
    record = Consumed("telephony.events", 0, 1, None, b"", [("traceparent", b"no trace at all \xff")], None)
    for _ in range(10_000):
        spans.processed(record, 1)
    spans.close()
    assert "Traceback" not in capfd.readouterr().err


LOADS = """
import sys
import sinks.crm, streams.app, streams.intake
from deploy.settings import load_settings
from streams.tracing import make_spans
assert make_spans(load_settings(), "mandate-test") is None
print([name for name in sys.modules if name.startswith("opentelemetry")])
"""


def test_nothing_of_it_is_loaded_unless_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-c", LOADS], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_without_its_packages_the_process_says_what_to_install(
    stack: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(Broken, match=r"mandate\[tracing\]"):
        make_spans(stack.model_copy(update={"tracing": True}), "mandate-test")
