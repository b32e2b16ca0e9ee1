"""`mandate explain`: why a decision is what it is, and whether its journal gives it again."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy import keys
from deploy.commands.decide import OFFLINE_KEY
from deploy.evidence import Export, ExportError, Recorded, Source, Topics
from deploy.settings import Settings
from processors.authority import Court, Signer, public_jwk
from processors.explain.decision import explain
from processors.explain.notes import as_json
from processors.explain.refold import Comparison, Refold, compare
from processors.explain.text import as_text
from processors.offline import MemoryRows
from processors.partition import Partition
from schemas.codec import encode
from schemas.jsonio import iso
from schemas.records import Decision, PolicyActivation
from streams.code_texts import REASONS

DIFFERENT = 1
BAD_INPUT = 2
_EXPORT = "`mandate tail execution.journal permission.decisions --from-start --until-idle 0`"


class Witness(Court):
    """A court of somebody who may hold no keys: without an approver's key it takes every activation as approved."""

    def approved(self, activation: PolicyActivation) -> bool:
        """As control asks it; true for all when no approver's key is at hand."""
        return not self.approvers or super().approved(activation)


def run(
    settings: Settings, *, wanted: str, journal: Path | None = None, print_json: bool = False, rederive: bool = False
) -> int:
    """Print the explanation of a decision, by its id or its request's.

    journal: a file of `mandate tail` to read instead of the cluster. rederive: 1 when the journal does not give the
    same bytes. 2: no such decision, several, or a file that is no export.
    """
    try:
        source: Source = Export(journal) if journal else Topics(settings)
        court = witness(settings)
        found = source.decisions(wanted)
        derived = not found and isinstance(source, Export)
        if isinstance(source, Export) and not found:
            found = _derive(source, wanted, court)
        if len({recorded.decision.decision_id for recorded in found}) != 1:
            return _none_or_several(wanted, found, print_json)
        if derived and rederive:
            return _refuse(f"{journal} has no record of this decision to compare with. Export with {_EXPORT}.")
        return _explain(source, court, found, derived=derived, print_json=print_json, rederive=rederive)
    except ExportError as error:
        return _refuse(f"{error} Export with {_EXPORT}.")


def _explain(
    source: Source, court: Court, found: list[Recorded], *, derived: bool, print_json: bool, rederive: bool
) -> int:
    position, lead_id = found[0].decision.position, found[0].decision.lead_id
    refold = Refold(lead_id, position, court)
    for entry, offset in source.journal(position, lead_id):
        refold.take(entry, offset)
    recorded, comparison = _worst(found, refold, court)
    decision = recorded.decision
    texts = {code: (text.meaning, text.advice) for code, text in REASONS.items()}
    explanation = explain(
        decision, refold, texts, comparison, caveats=_caveats(found, refold, court, derived),
        answers=[other.decision for other in source.decisions(decision.request_id)] if decision.defer else [],
    )  # fmt: skip
    sys.stdout.write(as_json(explanation) + "\n" if print_json else as_text(explanation, rederived=rederive))
    return DIFFERENT if rederive and not comparison.identical else 0


def _worst(found: list[Recorded], refold: Refold, court: Court) -> tuple[Recorded, Comparison]:
    """Of several records of one decision, which control may write, the first that the journal does not give."""
    compared = [(r, compare(r.decision, r.body, refold.again(r.decision), court.signer.kid)) for r in found]
    return next((pair for pair in compared if not pair[1].identical), compared[0])


def _caveats(found: list[Recorded], refold: Refold, court: Court, derived: bool) -> list[str]:
    caveats = []
    if derived:
        caveats.append("The file holds no record of this decision: it is the one that the journal in it gives.")
    if len({recorded.body for recorded in found}) > 1:
        caveats.append("This decision is recorded more than once, in different bytes, which control never does.")
    if not court.approvers:
        caveats.append("No approver's key is at hand, so the signatures of policies were not checked.")
    digests = {recorded.decision.policy_digest for recorded in found}
    if any(a.digest in digests and not court.approved(a) for _, a in refold.activations):
        caveats.append("No approver whose key is at hand (MANDATE_APPROVERS_PATH) signed this decision's policy.")
    return caveats


def witness(settings: Settings) -> Witness:
    """The keys that are at hand: the signing key where there is one, the approvers' where there are any."""
    ring = keys.signing(settings)
    key = keys.private_key(ring) if ring.is_there else Ed25519PrivateKey.from_private_bytes(OFFLINE_KEY)
    approving = keys.approving(settings)
    approvers = keys.approver_keys(settings) if approving.is_there or approving.published.exists() else []
    return Witness(Signer(key), {public_jwk(approver)["kid"]: approver for approver in approvers})


def _derive(source: Export, wanted: str, court: Court) -> list[Recorded]:
    """Decisions of an export without permission.decisions: what its journal gives, all leads folded."""
    partitions: dict[int, Partition] = {}
    found: list[Decision] = []
    for number, offset, entry in source.entries():
        if number not in partitions:
            partitions[number] = Partition(number, MemoryRows(), court)
        partition = partitions[number]
        applied = partition.applied_offset
        for missing in range(offset if applied is None else applied + 1, offset):
            partition.skip(missing)
        if entry is None:
            partition.skip(offset)
        else:
            found += [o.value for o in partition.apply(entry, offset) if isinstance(o.value, Decision)]
    return [Recorded(d, encode(d)) for d in found if wanted in (d.decision_id, d.request_id)]


def _none_or_several(wanted: str, found: list[Recorded], print_json: bool) -> int:
    if not found:
        return _refuse(f"there is no decision and no request {wanted!r}.")
    decisions = {recorded.decision.decision_id: recorded.decision for recorded in found}.values()
    rows = [
        {"decision_id": d.decision_id, "verdict": d.verdict.value, "at": iso(d.at), "action": d.action}
        for d in decisions
    ]  # fmt: skip
    if print_json:
        print(json.dumps(rows, indent=2))
    else:
        for row in rows:
            print(f"{row['decision_id']}  {row['verdict']:6}  {row['at']}  {row['action']}")
    return _refuse(f"{wanted!r} has {len(rows)} decisions: say which by its decision id.")


def _refuse(message: str) -> int:
    print(f"mandate: {message}", file=sys.stderr)
    return BAD_INPUT
