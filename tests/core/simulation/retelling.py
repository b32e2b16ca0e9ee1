"""A world that failed, told in the words of scenarios: the beginning of the scenario that keeps the fault away."""

import json
from typing import Any

import yaml

from processors.scenarios.words import WORDS
from schemas.jsonio import iso, to_json
from schemas.records import AgentOutcome, AgentRequest, HumanIntervention, PolicyActivation, Record, Tick
from tests.core.simulation.shrink import Failure
from tests.core.simulation.world import Line, World
from tests.core.story import SECOND, default_bundle

_WORD_OF = {row.record: word for word, row in WORDS.items() if word not in ("interim", "corrects", "withdraws")}
_SCHEMA_ONLY = ("provider_type", "denies", "track", "confidence_kind", "received_at", "occurred_at")
"""Fields that a step need not give when they say nothing."""


_CHANGING = ("cut_off", "signals")
"""What one activation changes and the next one changes back."""


def retell(failure: Failure) -> str:
    """YAML for `mandate policy test`. What broke stands on top; what must come instead is for a person to write."""
    title = failure.invariant.replace("_", " ")
    told = [scenario_of(failure.world, line, f"{title}, partition {n}") for n, line in enumerate(failure.world.lines)]
    text = yaml.safe_dump({"group": "state", "scenarios": told}, sort_keys=False, allow_unicode=True, width=118)
    what = failure.what.replace("\n", " ")[:1000]
    return f"# {what}\n# Write under `then` what must come instead, and move the scenario to tests/scenarios.\n{text}"


def scenario_of(world: World, line: Line, name: str) -> dict[str, Any]:
    """A journal as a scenario that expects of each request what came of it."""
    has_ticks = any(isinstance(entry.body, Tick) for entry in line.journal)
    at = iso(line.journal[0].at) if line.journal else None
    return {
        "name": name, **({"at": at} if at else {}), "policy": "none", "ticks": has_ticks,
        "when": _steps(world, line), "then": _came(world, line),
    }  # fmt: skip


def _steps(world: World, line: Line) -> list[dict[str, Any]]:
    """One step an entry. Time between entries is told as it was; a tick is a wait."""
    found, now = [], line.journal[0].at if line.journal else 0
    for entry in line.journal:
        after = (entry.at - now) // SECOND
        if isinstance(entry.body, Tick):
            found.append({"wait": after})
        elif isinstance(entry.body, PolicyActivation):
            found.append({"policy": _policy(entry.body), "after": after})
        else:
            found.append({**_step(world, entry.body), "after": after})
        now = max(now, entry.at)
    return found


def _step(world: World, body: Record) -> dict[str, Any]:
    fields = {key: value for key, value in to_json(body).items() if value not in (None, [], {}, "")}
    for key in _SCHEMA_ONLY:
        if fields.get(key) in (False, "NONE", "UNKNOWN") or key == "received_at":
            fields.pop(key, None)
    if getattr(body, "conversation_id", "") is None:
        fields["conversation_id"] = "none"
    controls: dict[str, Any] = {}
    if isinstance(body, HumanIntervention):
        controls = {"signed": True} if fields.pop("signature", None) else {}
        if body.case_id is not None:
            fields["case"] = world.causes[fields.pop("case_id")]
    if isinstance(body, AgentOutcome) and body.grant_id in world.granted:
        fields["grant"] = world.granted[fields.pop("grant_id")]
    return {_WORD_OF[type(body)]: fields, **controls}


def _policy(body: PolicyActivation) -> dict[str, Any]:
    told, shipped = json.loads(body.bundle), default_bundle().model_dump(mode="json")
    change = {key: value for key, value in told.items() if value != shipped.get(key) or key in _CHANGING}
    forged = not any(any(signature.signature) for signature in body.signatures)
    return {"change": change, "revision": body.revision, **({"signatures": []} if forged else {})}


def _came(world: World, line: Line) -> list[dict[str, str]]:
    """The last answer to each request, as it came."""
    asked = dict.fromkeys(e.body.request_id for e in line.journal if isinstance(e.body, AgentRequest))
    return [{name: str(world.last[name])} for name in asked if name in world.last]
