"""The policy bundle: the whole rule set as one versioned document.

A bundle is a directory of YAML files whose top-level keys together make a `Bundle`. It says what actions, roles,
stages and rules there are; `processors.checks` says what each kind of check means; nothing is decided here.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import rfc8785
import yaml
from pydantic import Field, ValidationError, model_validator

from processors.policy.acting import Action, Identity, Limits, Obligation, Person, RegisteredAgent, Role, Stage
from processors.policy.contact import Contact, Regulation
from processors.policy.model import Model, PolicyError
from processors.policy.rules import Rule
from processors.policy.words import Dialogue, Phrases, Signals, Trigger


class CutOff(Model):
    """Whose grants are void from this revision on, and who gets no new ones while the bundle names them."""

    agents: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    policies: tuple[str, ...] = Field((), description="digests of earlier bundles, whose grants are void")


class Bundle(Model):
    """A whole policy bundle."""

    version: str
    title: str
    limits: Limits
    stages: tuple[Stage, ...]
    actions: Mapping[str, Action]
    roles: Mapping[str, Role]
    obligations: Mapping[str, Obligation]
    people: Mapping[str, Person] = Field(default_factory=dict, description="author -> whose signed word counts")
    agents: Mapping[str, RegisteredAgent] = Field(default_factory=dict, description="agent_id -> who may act as it")
    identity: Identity = Identity()
    contact: Contact
    signals: Signals
    phrases: Phrases
    dialogue: Dialogue
    triggers: tuple[Trigger, ...]
    rules: tuple[Rule, ...]
    regulations: Mapping[str, Regulation] = Field(default_factory=dict)
    cut_off: CutOff = CutOff()

    @model_validator(mode="after")
    def _names_exist(self) -> "Bundle":
        problems = [*self._unknown_names(), *self._doubles()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _unknown_names(self) -> Iterator[str]:
        stages = {stage.name for stage in self.stages}
        for name, action in self.actions.items():
            if action.stage not in stages:
                yield f"action {name}: no stage {action.stage!r}"
            yield from (f"action {name}: no obligation {o!r}" for o in action.obligations if o not in self.obligations)
        named = [(f"role {name}", role.actions) for name, role in self.roles.items()]
        named += [(f"rule {rule.id}", rule.actions) for rule in self.rules]
        named += [(f"trigger {trigger.cause}", trigger.suspends) for trigger in self.triggers]
        named += [(f"person {name}", person.may_override) for name, person in self.people.items()]
        for who, actions in named:
            yield from (f"{who}: no action {a!r}" for a in actions if a not in self.actions and a != "*")
        for rule in self.rules:
            yield from (f"rule {rule.id}: no role {r!r}" for r in rule.roles if r not in self.roles and r != "*")
        for name, agent in self.agents.items():
            yield from (f"agent {name}: no role {r!r}" for r in agent.roles if r not in self.roles)
        known = {rule.id for rule in self.rules}
        for name, row in self.regulations.items():
            enforcing = [place for place in row.enforced_by if not place.startswith("contact.")]
            yield from (f"regulation {name}: no rule {place!r}" for place in enforcing if place not in known)

    def _doubles(self) -> Iterator[str]:
        ids = [rule.id for rule in self.rules]
        yield from (f"rule {i}: stands more than once" for i in sorted({i for i in ids if ids.count(i) > 1}))
        causes = [trigger.cause for trigger in self.triggers]
        yield from (f"trigger {c}: stands more than once" for c in sorted({c for c in causes if causes.count(c) > 1}))

    def canonical_json(self) -> str:
        """The bundle as RFC 8785 JSON: the text that is signed and activated."""
        return rfc8785.dumps(self.model_dump(mode="json")).decode("utf-8")

    def digest(self) -> str:
        """sha256 of the canonical JSON, hex."""
        return sha256(self.canonical_json().encode("utf-8")).hexdigest()


def parse_bundle(text: str) -> Bundle:
    """A bundle from its JSON text; PolicyError when it is not one."""
    try:
        return Bundle.model_validate_json(text)
    except ValidationError as error:
        raise PolicyError(_explain(error)) from error


def load_bundle(directory: Path) -> Bundle:
    """A bundle from a directory of YAML files; PolicyError names the file or the place."""
    files = sorted(directory.glob("*.yaml"))
    if not files:
        raise PolicyError(f"{directory}: no .yaml files; a policy bundle is a directory of them")
    merged: dict[str, object] = {}
    for file in files:
        for key, value in _read_yaml(file).items():
            if key in merged:
                raise PolicyError(f"{file}: {key!r} already stands in another file of the bundle")
            merged[key] = value
    try:
        return Bundle.model_validate_json(json.dumps(merged, default=str))  # YAML makes dates of what looks like one
    except ValidationError as error:
        raise PolicyError(f"{directory}: {_explain(error)}") from error


def _read_yaml(file: Path) -> dict[str, object]:
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PolicyError(f"{file}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise PolicyError(f"{file}: expected keys and values at the top level")
    return content


def _explain(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"]) or "bundle"
    more = error.error_count() - 1
    return f"{place}: {first['msg']}" + (f" (and {more} more)" if more else "")
