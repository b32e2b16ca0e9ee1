"""One round with one system: start it, open the calls, measure latency at each rate, then a backlog, end it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deploy.commands import policy_activate
from schemas.codec import Codec
from schemas.records import RequestId
from tests.benchmarks.figures import percentiles
from tests.benchmarks.load import Answers, Gun, Sent, Shot, schedule, wall_us
from tests.benchmarks.systems import Broker, Running, System, machine_cpu_s, running
from tests.benchmarks.workload import Lead, Traffic

ANSWER_WITHIN_S = 60.0
_LEAD_TIME_S = 0.25
_ENCODE_S = 60e-6
_BACKLOGS_IN_A_ROUND = 2


class Plan(NamedTuple):
    """How much is measured. warm_s: seconds of the first rate before each latency run, not counted.

    compile_s: of the load before the first round.
    rest_s: from the start of a system's round to that of its next. The grants of an opening, made at one time, end at
        one time, 60 s later by the default policy; the tick that ends hundreds of them holds up what comes then.
    backlogs: rounds with backlogs, after those of latency, which their grants would disturb.
    """

    leads: int
    rates: tuple[int, ...]
    seconds: tuple[float, ...]
    warm_s: float
    opening_rate: int
    backlog: int
    compile_s: float = 0.0
    rest_s: float = 0.0
    backlogs: int = 1


class Spent(NamedTuple):
    """Processor seconds used so far by each part; `machine` is all that the machine's processors did."""

    at: float
    parts: dict[str, float]
    machine: float

    @classmethod
    def now(cls, broker: Broker, processes: Running) -> "Spent":
        parts = {**processes.cpu_s(), "broker": broker.cpu_s(), "driver": time.process_time()}
        return cls(time.monotonic(), parts, machine_cpu_s())

    def since(self, before: "Spent") -> dict[str, float]:
        """Seconds between two moments; `others`: by processes that are no part of this."""
        spent = {name: round(used - before.parts[name], 2) for name, used in self.parts.items()}
        return {**spent, "others": round(max(0.0, self.machine - before.machine - sum(spent.values())), 2)}

    def took_s(self, before: "Spent") -> float:
        return round(self.at - before.at, 2)


class Round:
    """A system that runs, with its traffic."""

    def __init__(self, broker: Broker, codec: Codec, processes: Running, plan: Plan, name: str, seed: int) -> None:
        self._broker = broker
        self.processes = processes
        self._plan = plan
        self._seed = seed
        prefix = processes.system.prefix
        self.traffic = Traffic(name, plan.leads, seed)
        self.gun = Gun(broker.settings, codec, prefix)
        self.answers = Answers(broker.settings, codec, prefix)

    def open_calls(self) -> None:
        """Brings every lead into its call."""
        began = wall_us() + 100_000
        pace = 1.0 / self._plan.opening_rate
        shots = [
            self.gun.load(step(began + round(number * pace * 1e6)), number * pace)
            for number, step in enumerate(self.traffic.opening())
        ]
        self.settle(self.gun.fire(shots, time.monotonic()))

    def latency(self, rate: int, seconds: float) -> dict[str, Any]:
        """Open loop at a rate: from the scheduled send of a request to its first verdict, in ms."""
        total = self._plan.warm_s + seconds
        shots, start = self.aim(list(schedule(rate, total, self._seed)))
        before = Spent.now(self._broker, self.processes)
        sent = self.gun.fire(shots, start)
        self.settle(sent)
        after = Spent.now(self._broker, self.processes)
        counted = {request: at for request, at in sent.due.items() if at >= start + self._plan.warm_s}
        samples = [(self.answers.at[request] - at) * 1_000 for request, at in counted.items()]
        to_intake = [(self.answers.stamped[request] - at) * 1_000 for request, at in counted.items()]
        return {
            "rate": rate,
            "seconds": seconds,
            "events": len(shots),
            "latency_ms": percentiles(samples),
            "of_it_to_intake_ms": percentiles(to_intake),
            "sent_late_ms": percentiles(sent.late_ms),
            "verdicts": self._verdicts(counted),
            "cpu_s": after.since(before),
            "took_s": after.took_s(before),
            "samples_ms": [round(sample, 3) for sample in samples],
        }

    def backlog(self, events: int) -> dict[str, Any]:
        """Events a second from the moment at which a system that was held may read, to the last verdict.

        Which input topic is read first is a system's own affair, so its last verdict on the backlog may come before
        its last event is folded. Once the journal holds the backlog, one more request follows on each partition:
        what counts is the last verdict on these.
        """
        journal = self.answers.journal_end()
        with self.processes.held():
            shots, start = self.aim([0.0] * events)
            sent = self.gun.fire(shots, start)
            before = Spent.now(self._broker, self.processes)
            began = time.monotonic()
        self.await_journal(journal + events)
        appended = time.monotonic()
        last = self.gun.fire(
            [self.gun.load(lead.ask(wall_us()), 0.0) for lead in self._one_of_each_partition()],
            appended,
        )
        self.settle(last)
        self.settle(sent)
        took = max(self.answers.at[request] for request in last.due) - began
        after = Spent.now(self._broker, self.processes)
        return {
            "events": events,
            "requests": len(sent.due),
            "intake_events_per_s": round(events / (appended - began)),
            "events_per_s": round(events / took),
            "seconds": round(took, 3),
            "cpu_s": after.since(before),
            "took_s": after.took_s(before),
            "verdicts": self._verdicts(sent.due),
        }

    def _one_of_each_partition(self) -> list[Lead]:
        """A lead of this round on each partition."""
        leads = self.traffic.leads
        return [leads[min(here)] for seen in self.answers.leads_on.values() if (here := seen & leads.keys())]

    def await_journal(self, end: int) -> None:
        """Returns when the journal has had so many entries."""
        until = time.monotonic() + ANSWER_WITHIN_S
        while self.answers.journal_end() < end:
            self.processes.look()
            if time.monotonic() > until:
                raise TimeoutError(f"the journal did not grow to {end} within {ANSWER_WITHIN_S:.0f} s")
            time.sleep(0.01)

    def close(self) -> None:
        self.answers.close()

    def aim(self, due_s: list[float]) -> tuple[list[Shot], float]:
        """Encodes one event for each time, stamped with the time at which it will be sent, and says when to start."""
        wait_s = _LEAD_TIME_S + len(due_s) * _ENCODE_S
        start, wall = time.monotonic() + wait_s, wall_us() + round(wait_s * 1e6)
        shots = [self.gun.load(self.traffic.next(wall + round(at * 1e6)), at) for at in due_s]
        return shots, max(start, time.monotonic())

    def settle(self, sent: Sent) -> None:
        """Returns when each request that was sent has a verdict."""
        requests = list(sent.due)
        if not self.answers.wait_for(requests, ANSWER_WITHIN_S, self.processes.look):
            missing = [request for request in requests if request not in self.answers.at]
            raise TimeoutError(f"{len(missing)} of {len(requests)} requests had no verdict, such as {missing[0]}")

    def _verdicts(self, requests: dict[RequestId, float]) -> dict[str, int]:
        found: dict[str, int] = {}
        for request in requests:
            verdict = self.answers.verdicts[request].value
            found[verdict] = found.get(verdict, 0) + 1
        return dict(sorted(found.items()))


@contextmanager
def opened(system: System, broker: Broker, codec: Codec, plan: Plan, logs: Path, number: int) -> Iterator[Round]:
    """The system with all its calls open."""
    with running(system, broker.settings, logs) as processes:
        if system.name == "mandate":
            policy_activate.run(broker.settings, bundle=broker.settings.policy_bundle)
        this = Round(broker, codec, processes, plan, f"{system.prefix}r{number}", seed=number)
        try:
            this.open_calls()
            yield this
        finally:
            this.close()


def warm_up(system: System, broker: Broker, codec: Codec, plan: Plan, *, logs: Path) -> None:
    """Load that nobody counts, so that the broker's Java is compiled before the first system is measured.

    Its compiler takes up to half a core for the first minute under load (seen by its threads' processor time).
    """
    with opened(system, broker, codec, plan, logs, 0) as this:
        this.backlog(plan.backlog // 4)
        this.latency(plan.rates[-1] // 2, plan.compile_s)
        this.backlog(plan.backlog // 4)


def latencies(system: System, broker: Broker, codec: Codec, plan: Plan, *, logs: Path, number: int) -> list[Any]:
    """A round of latency, at each rate; rounds of a broker have different numbers, from 1."""
    with opened(system, broker, codec, plan, logs, number) as this:
        return [this.latency(rate, length) for rate, length in zip(plan.rates, plan.seconds, strict=True)]


def throughput(
    system: System, broker: Broker, codec: Codec, plan: Plan, *, logs: Path, number: int
) -> list[dict[str, Any]]:
    """A round with two backlogs, of a system that has just judged at the highest rate."""
    with opened(system, broker, codec, plan, logs, number) as this:
        this.latency(plan.rates[-1], plan.seconds[-1])
        return [this.backlog(plan.backlog) for _ in range(_BACKLOGS_IN_A_ROUND)]
