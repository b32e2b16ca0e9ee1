"""A schema registry by its Confluent API: the few calls that Mandate needs.

Plain httpx, because confluent-kafka's own client needs an OAuth stack that nothing else here uses.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import httpx

from deploy.errors import OperatorError

MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"
TIMEOUT_S = 10.0
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class RegistryError(OperatorError):
    """The registry refused or does not answer. The operator checks its address and login, or the schema named."""


class SchemaRegistry:
    """A registry. `config` has the keys of confluent-kafka's client: `url`, `basic.auth.user.info`, `ssl.ca.location`.

    Every call raises RegistryError when the registry does not answer or refuses.
    """

    def __init__(self, config: Mapping[str, str]) -> None:
        self.url = config["url"].rstrip("/")
        user, _, password = config.get("basic.auth.user.info", "").partition(":")
        authorities = config.get("ssl.ca.location")
        url = httpx.URL(self.url)
        self._client = httpx.Client(
            auth=(user, password) if user else None,
            # Without TLS none of the system's authorities need be loaded: that takes as long as several calls.
            verify=ssl.create_default_context(cafile=authorities) if authorities else url.scheme != "http",
            timeout=TIMEOUT_S,
            trust_env=url.host not in LOOPBACK,  # no proxy on the way to ourselves
            headers={"Accept": MEDIA_TYPE, "Content-Type": MEDIA_TYPE},
        )

    def __enter__(self) -> SchemaRegistry:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def subjects(self) -> list[str]:
        """Every subject."""
        return list(self._call("GET", "/subjects"))

    def schema(self, schema_id: int) -> str:
        """The schema of an id. Raises KeyError when there is none."""
        found = self._call("GET", f"/schemas/ids/{schema_id}", missing=None)
        if found is None:
            raise KeyError(schema_id)
        return str(found["schema"])

    def schema_id(self, subject: str, schema: str) -> int | None:
        """The id under which a subject holds this very schema; None when it does not."""
        found = self._call("POST", f"/subjects/{subject}", {"schema": schema}, missing=None)
        return None if found is None else int(found["id"])

    def incompatibilities(self, subject: str, schema: str) -> list[str]:
        """Why a schema can't follow what the subject holds; empty when it can, or when there is no subject yet."""
        path = f"/compatibility/subjects/{subject}/versions"
        found = self._call("POST", path, {"schema": schema}, params={"verbose": "true"}, missing=None)
        if found is None or found["is_compatible"]:
            return []
        return [str(message) for message in found.get("messages") or ["no reason given"]]

    def register(self, subject: str, schema: str) -> int:
        """Register a schema and return its id; the same schema again returns the same id."""
        return int(self._call("POST", f"/subjects/{subject}/versions", {"schema": schema})["id"])

    def set_compatibility(self, subject: str, level: str) -> None:
        """What later schemas of the subject must keep."""
        self._call("PUT", f"/config/{subject}", {"compatibility": level})

    def compatibility(self, subject: str) -> str | None:
        """The subject's own level; None when it follows the registry's default."""
        found = self._call("GET", f"/config/{subject}", missing=None)
        return None if found is None else str(found["compatibilityLevel"])

    def _call(self, method: str, path: str, body: object = None, *, missing: Any = ..., **options: Any) -> Any:
        """The answer's JSON; `missing`, when given, stands for 404."""
        try:
            answer = self._client.request(method, self.url + path, json=body, **options)
        except httpx.HTTPError as error:
            raise RegistryError(
                f"The schema registry {self.url} does not answer ({type(error).__name__}: {error}).",
                "Check MANDATE_REGISTRY_URL, or `mandate status` for the local one.",
            ) from error
        if answer.status_code == httpx.codes.NOT_FOUND and missing is not ...:
            return missing
        if answer.is_error:
            raise RegistryError(
                f"The schema registry refused {method} {path} ({answer.status_code}: {_reason(answer)}).",
                "Check the login in MANDATE_REGISTRY_USERNAME and _PASSWORD."
                if answer.status_code in (401, 403)
                else "Correct what it names, then repeat the command.",
            )
        return answer.json()


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json().get("message", answer.text))[:300]
    except ValueError:
        return answer.text[:300]
