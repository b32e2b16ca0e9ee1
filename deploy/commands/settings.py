"""`mandate settings`: every setting, its value in force and what it means."""

from __future__ import annotations

from deploy.settings import PREFIX, Settings, shown


def run(settings: Settings) -> int:
    """One block a setting; secrets are shown as stars."""
    for name, field in Settings.model_fields.items():
        print(f"{PREFIX}{name.upper()}={shown(getattr(settings, name))}\n    {field.description}")
    return 0
