"""`mandate status`: do broker and registry answer."""

from __future__ import annotations

from deploy.local import stack
from deploy.settings import Settings

NOT_ANSWERING = 3


def run(settings: Settings) -> int:
    """One line a service; exit code 3 when one does not answer."""
    services = stack.status(settings)
    for service in services:
        where = f"process {service.pid}" if service.pid else "not started here"
        state = "answers" if service.answers else "does not answer"
        print(f"{service.name:<9} {service.address or '-':<45} {state:<16} {where}")
    return 0 if all(service.answers for service in services) else NOT_ANSWERING
