"""`mandate policy activate`: a bundle, signed by the approver, comes into force."""

from __future__ import annotations

import getpass
import sys
from pathlib import Path

from deploy import keys
from deploy.settings import Settings
from processors.authority import approval
from processors.ids import derive
from processors.policy import Bundle, PolicyError, load_bundle
from schemas.codec import Codec
from schemas.headers import cloud_event
from schemas.records import PolicyActivation, PolicySignature

TOPIC = "policy.activations"
BAD_INPUT = 2


def run(
    settings: Settings,
    *,
    bundle: Path,
    reason: str = "",
    revision: int | None = None,
    approved_by: str | None = None,
) -> int:
    """Append the activation of a bundle to the log, unless its digest is the one already in force.

    revision: default is the highest seen plus one; one that was seen already exits 2, for control would ignore it.
    approved_by: who says so; default is the user's name.
    """
    from streams.registry import connect

    try:
        loaded = load_bundle(bundle)
    except PolicyError as error:
        print(f"mandate: {error}", file=sys.stderr)
        return BAD_INPUT
    keys.ensure(keys.approving(settings))
    codec = connect(settings)
    seen = past_activations(settings, codec)
    newest = max(seen, key=lambda activation: activation.revision, default=None)
    if revision is None and newest is not None and newest.digest == loaded.digest():
        print(f"policy {newest.version} (revision {newest.revision}, {newest.digest[:12]}) is in force already")
        return 0
    highest = newest.revision if newest else 0
    if revision is not None and revision <= highest:
        print(f"mandate: revision {revision} is not above {highest}, the highest in the log.", file=sys.stderr)
        return BAD_INPUT
    activation = sign(
        settings, loaded, highest + 1 if revision is None else revision, reason, approved_by or getpass.getuser()
    )
    _append(settings, codec, activation)
    print(f"policy {activation.version} (revision {activation.revision}, {activation.digest[:12]}) is activated")
    return 0


def sign(settings: Settings, bundle: Bundle, revision: int, reason: str, approved_by: str) -> PolicyActivation:
    """The activation of a bundle with the approver's signature over digest and revision."""
    key = keys.private_key(keys.approving(settings))
    digest = bundle.digest()
    return PolicyActivation(
        activation_id=derive("policy-activation", revision, digest),
        version=bundle.version,
        revision=revision,
        digest=digest,
        bundle=bundle.canonical_json(),
        signatures=(PolicySignature(key_id=keys.key_id(key), signature=key.sign(approval(digest, revision))),),
        approved_by=approved_by,
        reason=reason,
    )


def past_activations(settings: Settings, codec: Codec) -> list[PolicyActivation]:
    """Every activation in the log, oldest first."""
    from streams.kafka import read_all

    return [codec.decode(PolicyActivation, message.value()) for message in read_all(settings, TOPIC)]


def _append(settings: Settings, codec: Codec, activation: PolicyActivation) -> None:
    from streams.clock import make_clock
    from streams.kafka import make_producer
    from streams.sender import Sender

    # Never 0, which means "the wall clock" to the Kafka client: a driven clock that stands at nothing yet stays.
    at = max(make_clock(settings).now(), 1000)
    sender = Sender(make_producer(settings))
    headers = cloud_event(activation, id=activation.activation_id, source="/mandate/policy", subject="", at=at)
    sender.send(TOPIC, codec.encode(activation), key=activation.activation_id, headers=headers, timestamp_ms=at // 1000)
    sender.flush()
