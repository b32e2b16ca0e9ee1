"""The schema registry, as much of its Confluent API as a client needs: two requests.

Not Mandate's own registry client: an agent embeds this without the deployment's code.
"""

import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpx

from agents.errors import MandateUnavailable
from schemas.catalogue import TOPIC_OF
from schemas.codec import Codec, schema_json
from schemas.records import (
    AgentOutcome,
    AgentRequest,
    Decision,
    Directive,
    ExecutionState,
    Record,
    Revocation,
)

_SENT: tuple[type[Record], ...] = (AgentRequest, AgentOutcome)
_READ: tuple[type[Record], ...] = (Decision, Directive, Revocation, ExecutionState)
_TIMEOUT_S = 10.0
_ATTEMPTS = 3
_NOT_FOUND = 404


def connect(config: Mapping[str, str]) -> Codec:
    """The codec of an agent's records; MandateUnavailable without a registry that knows what it sends."""
    registry = _Registry(config)
    ids = {record.__name__: registry.schema_id(record) for record in _SENT + _READ}
    missing = [record.__name__ for record in _SENT if ids[record.__name__] is None]
    if missing:
        raise MandateUnavailable(
            f"the schema registry at {registry.url} does not hold this client's {' and '.join(missing)}: is it"
            " Mandate's registry, and is Mandate at least as new as this client?"
        )
    return Codec({name: number for name, number in ids.items() if number is not None}, registry.schema)


class _Registry:
    """config: keys of Confluent clients: url, basic.auth.user.info, bearer.auth.token, ssl.*."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self.url = config["url"].rstrip("/")
        self._options = _http_options(config)

    def schema_id(self, record: type[Record]) -> int | None:
        body = {"schema": schema_json(record.__name__), "schemaType": "AVRO"}
        answer = self._ask("POST", f"/subjects/{TOPIC_OF[record]}-value", body)
        return None if answer is None else int(answer["id"])

    def schema(self, number: int) -> str:
        answer = self._ask("GET", f"/schemas/ids/{number}")
        if answer is None:
            raise KeyError(number)
        return str(answer["schema"])

    def _ask(self, method: str, path: str, body: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                # Asked a handful of times in a client's life: no connection is kept open for it.
                with httpx.Client(**self._options, timeout=_TIMEOUT_S) as http:
                    response = http.request(method, self.url + path, json=body)
                if response.status_code == _NOT_FOUND:
                    return None
                found: dict[str, Any] = response.raise_for_status().json()
                return found
            except (httpx.HTTPError, ValueError) as error:
                if attempt == _ATTEMPTS:
                    raise MandateUnavailable(
                        f"the schema registry at {self.url} does not answer ({type(error).__name__}: {error}):"
                        " check its address and credentials"
                    ) from error
                time.sleep(0.2 * attempt)
        raise AssertionError("unreachable")


def _http_options(config: Mapping[str, str]) -> dict[str, Any]:
    trust = ssl.create_default_context(cafile=config.get("ssl.ca.location"))
    if certificate := config.get("ssl.certificate.location"):
        trust.load_cert_chain(certificate, config.get("ssl.key.location"), config.get("ssl.key.password"))
    options: dict[str, Any] = {"verify": trust}
    if user := config.get("basic.auth.user.info"):
        name, _, password = user.partition(":")
        options["auth"] = (name, password)
    if token := config.get("bearer.auth.token"):
        options["headers"] = {"Authorization": f"Bearer {token}"}
    return options
