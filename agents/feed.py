"""What is void: the state that the revocation feed leads to. `agents.tail` fills it from Kafka."""

import threading
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from schemas.partitioner import partition_of
from schemas.records import Revocation, RevocationScope, TimeUs

MAX_GRANT_LIFETIME_US = 24 * 3600 * 1_000_000
"""No grant may live longer: the verifier refuses it, so a revocation this old has nothing left to void."""

_FORGET_AFTER_US = MAX_GRANT_LIFETIME_US + 3600 * 1_000_000
# Cut-offs of agents, roles and policies are few, and not tied to one lead's grants: they are kept.
_FORGOTTEN = frozenset({RevocationScope.GRANT, RevocationScope.LEAD})

_Key = tuple[RevocationScope, str]


class Revocable(Protocol):
    """What of a grant a revocation may name."""

    @property
    def grant_id(self) -> str: ...
    @property
    def lead_id(self) -> str: ...
    @property
    def agent_id(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def policy_digest(self) -> str: ...
    @property
    def epoch(self) -> int: ...
    @property
    def revision(self) -> int: ...


@dataclass(slots=True)
class _PartitionView:
    as_of: TimeUs | None = None
    lost: str = ""
    aging: deque[tuple[TimeUs, _Key]] = field(default_factory=deque)


class RevocationFeed:
    """Every revocation that can still matter, and how far each partition of the feed is known.

    partitions: partition count of the topic `permission.revocations`, which is also the leads'.
    Pure state: whoever reads the topic calls `observe` for each record, in order within a partition. Safe to
    share between threads. Repeated records change nothing.
    """

    def __init__(self, partitions: int) -> None:
        if partitions < 1:
            raise ValueError(f"the feed needs at least one partition, got {partitions}")
        self._views = [_PartitionView() for _ in range(partitions)]
        self._void: dict[_Key, Revocation] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._void)

    def observe(self, revocation: Revocation, partition: int) -> None:
        """Take one record of the feed's partition."""
        with self._lock:
            view = self._views[partition]
            if revocation.scope is RevocationScope.HEARTBEAT:
                view.as_of = max(view.as_of or revocation.at, revocation.at)
                self._forget(view, view.as_of - _FORGET_AFTER_US)
                return
            key = (revocation.scope, revocation.subject)
            known = self._void.get(key)
            if known is not None and known.epoch > revocation.epoch:
                return
            self._void[key] = revocation
            if revocation.scope in _FORGOTTEN:
                view.aging.append((revocation.at, key))

    def is_void(self, claims: Revocable) -> Revocation | None:
        """The revocation that voids this grant; None when there is none."""
        with self._lock:
            by_id = self._void.get((RevocationScope.GRANT, claims.grant_id))
            return by_id or next(self._cut_offs(claims), None)

    def lose(self, partition: int, error: Exception) -> None:
        """From here on nothing is known of a partition: one of its records could not be read."""
        self._views[partition].lost = str(error)

    def lose_all(self, error: Exception) -> None:
        """From here on nothing is known: the feed can't be read."""
        for partition in range(len(self._views)):
            self.lose(partition, error)

    def as_of(self, partition: int) -> TimeUs | None:
        """Journal time up to which a partition's revocations are known.

        None before its first heartbeat, and after a record of it could not be read.
        """
        view = self._views[partition]
        return None if view.lost else view.as_of

    def as_of_lead(self, lead_id: str) -> TimeUs | None:
        """`as_of` of the partition that this lead's revocations are on."""
        return self.as_of(partition_of(lead_id, len(self._views)))

    def _cut_offs(self, claims: Revocable) -> Iterator[Revocation]:
        """A lead is cut off at an epoch of its own; agents, roles and policies at a revision of the policy."""
        held = (
            (RevocationScope.LEAD, claims.lead_id, claims.epoch),
            (RevocationScope.AGENT, claims.agent_id, claims.revision),
            (RevocationScope.ROLE, claims.role, claims.revision),
            (RevocationScope.POLICY, claims.policy_digest, claims.revision),
        )
        for scope, subject, issued_at in held:
            found = self._void.get((scope, subject))
            if found is not None and issued_at < found.epoch:
                yield found

    def _forget(self, view: _PartitionView, before: TimeUs) -> None:
        while view.aging and view.aging[0][0] < before:
            at, key = view.aging.popleft()
            if (known := self._void.get(key)) is not None and known.at <= at:
                del self._void[key]
