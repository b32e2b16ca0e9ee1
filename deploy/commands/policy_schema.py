"""`mandate policy schema`: the JSON Schema of a bundle's files, for editors."""

from __future__ import annotations

import json
from typing import Any

from processors.policy import Bundle


def run() -> int:
    """Prints the schema."""
    print(json.dumps(schema(), indent=2, ensure_ascii=False))
    return 0


def schema() -> dict[str, Any]:
    """JSON Schema of one file of a bundle: no top-level key is required, for others may stand in other files."""
    made = Bundle.model_json_schema()
    made.pop("required")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **made,
        "title": "Policy bundle",
        "description": "One file of a policy bundle: the top-level keys of all .yaml files of a directory make it.",
    }
