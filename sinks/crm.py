"""The CRM sink: makes the writes that grants cover, once each, and answers on crm.results.

The order within one batch, and what each step survives:

1. Read updates from the offsets that the store holds.
2. Read revocations and policy activations to their ends: what was revoked before the write is known before it.
3. One transaction: judge each update, write its fields, note what became of it, note the answer that is owed,
   move the offsets. A kill before its commit leaves nothing; the batch is read again. What was not judged a second
   after step 2 goes back to it; so does the whole transaction, undone, when it is not done within the lease, because
   the process was paused or the store was slow: a revocation may have come meanwhile.
4. Send the answers that are owed and wait until the broker holds them all.
5. Forget those answers. A kill before this sends the same bytes again at the next start.
"""

import sys
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from agents.feed import RevocationFeed
from agents.keyring import Jwks
from agents.verify import GrantVerifier, Refusal
from schemas.catalogue import TOPIC_OF
from schemas.codec import CodecError, encode
from schemas.records import CrmResult, CrmUpdate, DeadLetterCode, PolicyActivation, Revocation
from sinks.consume import Place, Reader, Stop, Tail
from sinks.crm_answers import STAGE, answer, dead_letter, not_writable, result_of
from sinks.crm_judge import Bench, NotYet, judge
from sinks.crm_store import CrmStore, Writes
from sinks.policies import PolicyBook, approvers_of
from streams import Broken
from streams.clock import make_clock
from streams.kafka import Consumed, make_producer
from streams.metrics import sinks as metrics
from streams.registry import connect
from streams.sender import Sender
from streams.tracing import make_spans, of_write

if TYPE_CHECKING:
    from deploy.settings import Settings

UPDATES, REVOCATIONS, ACTIVATIONS = (TOPIC_OF[record] for record in (CrmUpdate, Revocation, PolicyActivation))
_BATCH = 500
_FRESH_S = 1.0
_POLL_S = 0.2
_ONCE_PATIENCE_S = 30.0
_SAY_AGAIN_S = 10.0


def serve(
    settings: "Settings",
    *,
    signers: Jwks | Path,
    approvers: Jwks,
    once: bool = False,
    skip_lost: bool = False,
    stop: Stop | None = None,
    ready: Callable[[str], None] = print,
) -> int:
    """Runs the sink until `stop`, or with `once` until every update was dealt with; returns how many were.

    signers: JWKS of the keys that sign grants, or its file, which is read again whenever it changed.
    approvers: JWKS of the keys that approve policies.
    """
    sink = CrmSink(settings, signers, approvers, skip_lost=skip_lost)
    try:
        sink.prepare()
        ready(f"crm sink ready: {UPDATES} into {sink.store.where}")
        return sink.run(stop or Stop(), once)
    finally:
        sink.close()


class CrmSink:
    """One run of the sink."""

    def __init__(self, settings: "Settings", signers: Jwks | Path, approvers: Jwks, *, skip_lost: bool) -> None:
        self.store = CrmStore(settings.crm_url)
        stored = self.store.offsets()
        self._reader = Reader(settings, STAGE, (UPDATES,))
        self.store.bind_to_cluster(self._reader.cluster_id())
        self._reader.begin(stored, skip_lost=skip_lost)
        self._next = {place: stored.get(place) for place in self._reader.places}
        self._codec = connect(settings)
        self._clock = make_clock(settings)
        self._sender = Sender(make_producer(settings, **{"client.id": STAGE}))
        self._feed = RevocationFeed(len(self._reader.places))
        self._policies = PolicyBook(approvers_of(approvers))
        self._lease_s = settings.revocation_lease_s
        lease_us = round(self._lease_s * 1_000_000)
        verifier = GrantVerifier(signers, feed=None, lease_us=lease_us)
        self._bench = Bench(verifier, self._feed, lease_us, self._policies)
        handlers = {REVOCATIONS: self._take_revocation, ACTIVATIONS: self._take_activation}
        self._tail = Tail(settings, STAGE, handlers)
        self._waits_for = ""
        self._outcomes: list[CrmResult | DeadLetterCode | None] = []
        self._spans = make_spans(settings, "mandate-sink-crm")

    def prepare(self) -> None:
        """Learns what is revoked and in force, and sends what an earlier run still owed."""
        self._tail.catch_up()
        self._answer()

    def run(self, stop: Stop, once: bool) -> int:
        """The loop; see the module's text for its order."""
        done, pending, patience = 0, list[Consumed](), _Patience(once)
        while not stop.requested and not (once and not pending and self._reader.caught_up):
            pending = pending or self._reader.read(_BATCH, _POLL_S)
            self._show()
            if not pending:
                self._tail.read_on()
                continue
            known_at = time.monotonic()
            self._tail.catch_up()
            before = len(pending)
            try:
                pending = self._deal_with(pending, known_at)
            except _OutOfDateError:
                patience.wait("judging and writing took longer than the lease of the revocation feed")
                continue
            metrics.CRM_WAITING.set(len(pending))
            self._answer()
            done += before - len(pending)
            if len(pending) == before:
                patience.wait(self._waits_for)
            else:
                patience.over()
        return done

    def close(self) -> None:
        """Leaves broker and store; answers that are owed stay in the store."""
        self._reader.close()
        self._tail.close()
        self.store.close()
        self._clock.close()
        if self._spans is not None:
            self._spans.close()

    def _deal_with(self, messages: list[Consumed], known_at: float) -> list[Consumed]:
        """Deals with a batch in one transaction; returns what must wait, and what lies behind it.

        known_at: when it was asked what is revoked. Raises _OutOfDateError, with nothing done, when too long ago.
        """
        rest: list[Consumed] = []
        reached: dict[Place, int] = {}
        blocked: set[Place] = set()
        dealt: list[Consumed] = []
        self._outcomes = []
        began, began_ns = time.perf_counter(), time.time_ns()
        with self.store.transaction() as writes:
            for message in messages:
                place = Place(message.topic, message.partition)
                is_fresh = not reached or time.monotonic() - known_at <= _FRESH_S
                if not is_fresh or place in blocked or not self._settle(writes, message, place):
                    blocked.add(place)
                    rest.append(message)
                else:
                    reached[place] = message.offset + 1
                    dealt.append(message)
            for place, after in reached.items():
                writes.advance(place, self._next[place], after)
            if time.monotonic() - known_at > self._lease_s:
                raise _OutOfDateError
        metrics.crm_settled(STAGE, self._outcomes, time.perf_counter() - began)
        self._next.update(reached)
        self._trace(dealt, began_ns)
        return rest

    def _trace(self, dealt: Sequence[Consumed], began_ns: int) -> None:
        """Tells what became of the updates of a transaction: a span of each is as long as the transaction."""
        if self._spans is not None:
            for message, outcome in zip(dealt, self._outcomes, strict=True):
                self._spans.processed(message, began_ns, of_write(outcome))

    def _settle(self, writes: Writes, message: Consumed, place: Place) -> bool:
        """Whether the record is dealt with; False when it must wait for the revocation feed."""
        try:
            update = self._codec.decode(CrmUpdate, message.value)
        except CodecError as error:
            writes.owe(dead_letter(self._codec, message, error, self._clock.now()))
            self._outcomes.append(error.code)
            return True
        digest = sha256(encode(update)).hexdigest()
        if writes.known(digest):
            self._outcomes.append(None)
            return True
        verdict = judge(update, self._bench, self._clock.now())
        if isinstance(verdict, NotYet):
            self._waits_for = verdict.message
            return False
        refusal = verdict if isinstance(verdict, Refusal) else None
        grant_id = None if isinstance(verdict, Refusal) else verdict.grant_id
        if grant_id is not None:
            self._clock.observe(update.at)
            refusal = not_writable(writes.owner_of(update.external_id), writes.user_of(grant_id), update)
        kept = writes.upsert(update) if refusal is None else []
        result = result_of(update, refusal, kept, self._clock.now())
        writes.record(update, digest, result, grant_id if refusal is None else None, place, message.offset)
        writes.owe(answer(self._codec, result, digest, message))
        self._outcomes.append(result)
        return True

    def _show(self) -> None:
        metrics.crm_feed(map(self._feed.as_of, range(len(self._reader.places))), self._clock.now())
        self._reader.show_lag(metrics.CRM_LAG)

    def _answer(self) -> None:
        while owed := self.store.owed():
            for _, record in owed:
                self._sender.send(
                    record.topic,
                    record.value,
                    key=record.key,
                    headers=record.headers,
                    timestamp_ms=record.timestamp_ms,
                )
            self._sender.flush()
            self.store.settle([number for number, _ in owed])

    def _take_revocation(self, message: Consumed) -> None:
        if message.value is None:  # a tombstone of compaction: whatever it named is long over
            return
        try:
            self._feed.observe(self._codec.decode(Revocation, message.value), message.partition)
        except CodecError as error:
            self._feed.lose(message.partition, error)

    def _take_activation(self, message: Consumed) -> None:
        place = f"{ACTIVATIONS}[{message.partition}]@{message.offset}"
        try:
            activation = self._codec.decode(PolicyActivation, message.value)
        except CodecError as error:
            _say(f"{place} is no activation and is not used: {error}")
            return
        if not self._policies.observe(activation):
            _say(f"{place}: policy {activation.version!r} has no valid approval and is not used")


class _OutOfDateError(Exception):
    """What was known to be revoked is older than the lease: judge again."""


class _Patience:
    """Waits for the revocation feed, and says what for: control may be down, or its topic unreadable."""

    def __init__(self, once: bool) -> None:
        self._once = once
        self._since: float | None = None
        self._said = 0.0

    def wait(self, reason: str) -> None:
        """A short pause; with `once`, Broken after half a minute of them."""
        now = time.monotonic()
        self._since = self._since or now
        if self._once and now - self._since > _ONCE_PATIENCE_S:
            raise Broken(f"An update can't be judged: {reason}.", "Check that control runs.")
        if now - self._since > 1 and now - self._said > _SAY_AGAIN_S:
            self._said = now
            _say(f"an update waits: {reason}. Check that control runs.")
        time.sleep(_POLL_S)

    def over(self) -> None:
        """The wait ended."""
        self._since = None


def _say(line: str) -> None:
    print(f"mandate sink crm: {line}", file=sys.stderr, flush=True)
