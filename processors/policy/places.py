"""Where the parts of a bundle stand: file and line of each, for whoever words an error for its author."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

Steps = tuple[str | int, ...]
"""Way to a part: keys and list positions from the top. A rule, a stage or a trigger also goes by its name."""

_NAMED_BY = ("id", "cause", "name")


class Place(NamedTuple):
    """A line of a file, from 1."""

    file: Path
    line: int


class Flaw(NamedTuple):
    """What makes a file useless before its meaning is looked at."""

    place: Place
    about: str
    sentence: str


class BundleFiles:
    """The files of a bundle as they are written: plain data, and the place of each part."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.content: dict[str, Any] = {}
        self.flaws: list[Flaw] = []
        self._places: dict[Steps, Place] = {}
        self._words: dict[Steps, str] = {}
        self._positions: dict[Steps, Steps] = {}
        files = sorted(directory.glob("*.yaml"))
        if not files:
            sentence = "no .yaml files; a policy bundle is a directory of them"
            self.flaws.append(Flaw(Place(directory, 1), "bundle", sentence))
        for file in files:
            self._read(file)

    def place(self, steps: Steps) -> Place:
        """Where a part stands. Steps that lead nowhere are left out, so that a near part is named at least."""
        return self._places.get(self._known(steps), Place(self.directory, 1))

    def _known(self, steps: Steps) -> Steps:
        at: Steps = ()
        for step in steps:
            on = self._positions.get((*at, step), (*at, step))
            at = on if on in self._places else at
        return at

    def place_of_word(self, steps: Steps, word: str) -> Place:
        """Where a word stands as key or value within a part; the part itself when it doesn't."""
        part = self._known(steps)
        for below, text in self._words.items():
            if text == word and below[: len(part)] == part:
                return self._places[below]
        return self.place(part)

    def _read(self, file: Path) -> None:
        try:
            root = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            line = mark.line + 1 if mark else 1
            said = getattr(error, "problem", None) or str(error).splitlines()[0]
            self.flaws.append(Flaw(Place(file, line), "YAML", f"not readable: {said}"))
            return
        if not isinstance(root, yaml.MappingNode):
            self.flaws.append(Flaw(Place(file, 1), "YAML", "expected keys and values at the top level"))
            return
        for key, value in self._entries(file, root):
            if key.value in self.content:
                other = self._places[(key.value,)].file.name
                sentence = f"already stands in {other}: a bundle has each top-level key once"
                self.flaws.append(Flaw(_place(file, key), key.value, sentence))
                continue
            self._places.setdefault((), Place(file, 1))
            self._mark(file, (key.value,), key)
            self.content[key.value] = self._value(file, (key.value,), value)

    def _entries(self, file: Path, node: yaml.MappingNode) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """Keys and values of a mapping; a key that comes again is a flaw, for YAML would silently take the last."""
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                self.flaws.append(Flaw(_place(file, key), "YAML", "a key must be plain text"))
            elif key.value in seen:
                self.flaws.append(Flaw(_place(file, key), key.value, "this key stands twice in one mapping"))
            else:
                seen.add(key.value)
                yield key, value

    def _mark(self, file: Path, steps: Steps, node: yaml.Node) -> None:
        self._places[steps] = _place(file, node)
        if isinstance(node, yaml.ScalarNode):
            self._words.setdefault(steps, node.value)

    def _value(self, file: Path, steps: Steps, node: yaml.Node) -> Any:
        if isinstance(node, yaml.MappingNode):
            content: dict[str, Any] = {}
            for key, value in self._entries(file, node):
                self._mark(file, (*steps, key.value), key)
                content[key.value] = self._value(file, (*steps, key.value), value)
            return content
        if isinstance(node, yaml.SequenceNode):
            return [self._item(file, steps, index, item) for index, item in enumerate(node.value)]
        self._words[(*steps, "")] = node.value
        self._places[(*steps, "")] = _place(file, node)
        return yaml.SafeLoader("").construct_object(node)  # type: ignore[no-untyped-call]

    def _item(self, file: Path, steps: Steps, index: int, node: yaml.Node) -> Any:
        self._mark(file, (*steps, index), node)
        named = _name_of(node)
        if named is not None:
            self._positions.setdefault((*steps, named), (*steps, index))
        return self._value(file, (*steps, index), node)


def _name_of(node: yaml.Node) -> str | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    names = (value for key, value in node.value if isinstance(key, yaml.ScalarNode) and key.value in _NAMED_BY)
    return next((value.value for value in names if isinstance(value, yaml.ScalarNode)), None)


def _place(file: Path, node: yaml.Node) -> Place:
    return Place(file, node.start_mark.line + 1)
