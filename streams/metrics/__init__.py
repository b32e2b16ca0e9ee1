"""What each process counts about itself, for Prometheus; `docs/metrics.md` lists it.

A role has a registry of its own (`control`, `intake`, `sinks`), so that nothing is exported that a process can't
count. Labels are bounded: topics, codes, partitions, names of the policy in force; never an id of a lead or agent.
Counting decides nothing, and what is counted was acknowledged before, so that it agrees with the topics.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from streams import Broken

if TYPE_CHECKING:
    from deploy.settings import Settings

AGE_BUCKETS = (0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.02, 0.04, 0.06, 0.1, 0.2, 0.5, 1, 2, 5, 10)
"""1 ms to 10 s, with edges at what is promised: 6, 20 and 60 ms from proposal to verdict, 100 ms to a refusal."""
WORK_BUCKETS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.125, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Half a millisecond to half a minute: what a flush or a commit takes."""

# The time at which a counter was made would double the number of series, and nobody asks for it.
disable_created_metrics()


def dead_letters(registry: CollectorRegistry) -> Counter:
    """The counter that every role has which writes dead letters."""
    return Counter(
        "mandate_dead_letters", "Records that could not be taken, whole.", ["stage", "code"], registry=registry
    )


def show_lag(gauge: Gauge, lag: Mapping[str, int]) -> None:
    """Shows the lag of each topic."""
    for topic, records in lag.items():
        gauge.labels(topic).set(records)


def serve(settings: "Settings", registry: CollectorRegistry) -> None:
    """Serves a role's metrics and those of the process over HTTP, from a daemon thread; nothing without a port.

    Raises Broken when the address can't be listened on.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if not port:
        return
    exported = CollectorRegistry()
    ProcessCollector(registry=exported)
    PlatformCollector(registry=exported)
    GCCollector(registry=exported)
    exported.register(registry)
    try:
        start_http_server(port, addr=host, registry=exported)
    except OSError as error:
        raise Broken(
            f"Metrics can't be served on {host}:{port} ({error.strerror}).",
            "Give each process a MANDATE_METRICS_PORT of its own that is free, or 0 for none.",
        ) from error
