"""What all parts of a bundle share."""

from pydantic import BaseModel, ConfigDict


class PolicyError(ValueError):
    """A bundle that can't be used. Its author mends the named place; the policy in force stays in force."""


class Model(BaseModel):
    """Base of the bundle's parts: unknown keys are errors, values don't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)
