"""The codec of a running process: ids of our schemas from the registry, schemas of others' ids on demand."""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from deploy.schema_registry import SchemaRegistry
from schemas.catalogue import TOPICS
from schemas.codec import Codec, schema_json
from streams import Broken

if TYPE_CHECKING:
    from deploy.settings import Settings

# An id that the registry did not know is asked for again after this time: hostile bytes cost no request each.
_UNKNOWN_FOR_S = 10.0
_UNKNOWN_KEPT = 10_000
_AT_ONCE = 4


class Fetch:
    """Schema by id; KeyError when there is none, remembered for ten seconds. Connects only when it is asked."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self._config = config
        self._unknown: dict[int, float] = {}

    def __call__(self, number: int) -> str:
        asked = self._unknown.get(number)
        if asked is not None and time.monotonic() - asked < _UNKNOWN_FOR_S:
            raise KeyError(number)
        try:
            with SchemaRegistry(self._config) as registry:
                return registry.schema(number)
        except KeyError:
            if len(self._unknown) >= _UNKNOWN_KEPT:
                self._unknown.clear()
            self._unknown[number] = time.monotonic()
            raise


def connect(settings: "Settings") -> Codec:
    """The codec of the whole catalogue, with the ids that the registry gave to the schemas of this version.

    Raises Broken when a schema of this version is not registered, RegistryError when the registry does not answer.
    """
    config = settings.registry_config()
    schemas = {topic.name: topic.value_schema for topic in TOPICS.values() if topic.value_schema is not None}
    # A start waits for each answer; together they take a third of the time.
    with SchemaRegistry(config) as registry, ThreadPoolExecutor(_AT_ONCE) as pool:
        answers = pool.map(lambda name: registry.schema_id(f"{name}-value", schema_json(schemas[name])), schemas)
        found = dict(zip(schemas, answers, strict=True))
    missing = [f"{name}-value" for name, number in found.items() if number is None]
    if missing:
        some = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise Broken(
            f"{len(missing)} schemas of this version are not in the registry {config['url']} ({some}).",
            "Run `mandate up` or `mandate topics --create`.",
        )
    ids = {schemas[name]: number for name, number in found.items() if number is not None}
    return Codec(ids, Fetch(config))
