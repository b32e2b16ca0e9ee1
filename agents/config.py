"""What a client needs to know. Independent of Mandate's own settings, so that an agent can bring just this."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from agents.keyring import read_jwks
from agents.signing import AgentKey
from schemas.records import TimeUs


def system_now() -> TimeUs:
    """The machine's clock, in microseconds since 1970."""
    return time.time_ns() // 1000


class MandateSettings(Protocol):
    """The part of Mandate's settings that a client can be configured from."""

    @property
    def revocation_lease_s(self) -> float: ...
    def client_config(self) -> Mapping[str, str | int]: ...
    def registry_config(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentConfig:
    """Who the agent is and where Mandate is.

    kafka: librdkafka configuration of address and security. registry: {"url": ...} of the schema registry's
        Confluent API, with `basic.auth.user.info` or `ssl.*` where it wants them.
    signing_key: what requests and reports are signed with; None = the policy does not register this agent.
    jwks: the public keys that Mandate publishes, or the path of the file that holds them: a file is read again
        whenever it changed.
    answer_timeout_s: how long `propose` waits for an answer, in seconds of the wall clock.
    lease_us: how far the revocation feed may lag before `enforce` refuses.
    now: the agent's clock; another one than the system's for replays, tests and the demo only.
    """

    agent_id: str
    role: str
    kafka: Mapping[str, str | int] = field(repr=False)
    registry: Mapping[str, str] = field(repr=False)
    jwks: Mapping[str, Any] | Path = field(repr=False)
    answer_timeout_s: float = 5.0
    lease_us: int = 5_000_000
    now: Callable[[], TimeUs] = system_now
    signing_key: AgentKey | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.agent_id or not self.role:
            raise ValueError("agent_id and role must not be empty: requests are judged by them")

    @classmethod
    def from_settings(
        cls,
        settings: MandateSettings,
        *,
        agent_id: str,
        role: str,
        jwks: Mapping[str, Any] | Path,
        now: Callable[[], TimeUs] = system_now,
        answer_timeout_s: float = 5.0,
        signing_key: AgentKey | None = None,
    ) -> "AgentConfig":
        """The configuration of one agent of the deployment that these settings describe."""
        return cls(
            agent_id=agent_id,
            role=role,
            kafka=dict(settings.client_config()),
            registry=dict(settings.registry_config()),
            jwks=jwks,
            answer_timeout_s=answer_timeout_s,
            lease_us=round(settings.revocation_lease_s * 1_000_000),
            now=now,
            signing_key=signing_key,
        )

    def public_keys(self) -> Mapping[str, Any]:
        """The JWKS, read from its file if need be; ValueError when the file is not one."""
        return read_jwks(self.jwks) if isinstance(self.jwks, Path) else self.jwks
