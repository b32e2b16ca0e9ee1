"""YAML that remembers its lines. Only `true` and `false` are booleans: `yes`, `on` and times stay words."""

import re
from pathlib import Path
from typing import Any

import yaml

BOOL, INT, FLOAT, NULL = (f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "null"))


class BadScenario(ValueError):  # noqa: N818 - it is the author's mistake, not a failure of judgement
    """A scenario that can't be read, or that names what is not there. Its author mends the named line."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"{where}: {message}")


class Map(dict[str, Any]):
    """A mapping and where it stands."""

    line: int
    lines: dict[str, int]


class Seq(list[Any]):
    """A list and where its items stand."""

    line: int
    lines: list[int]


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core words, without the surprises of 1.1."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - the class's own name


for _tag, _pattern, _first in (
    (BOOL, r"^(?:true|false)$", "tf"),
    (INT, r"^[-+]?\d+$", "-+0123456789"),
    (FLOAT, r"^[-+]?\d+\.\d+$", "-+0123456789"),
    (NULL, r"^(?:null|~|)$", ["n", "~", ""]),
):
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), list(_first))


def read(file: Path, name: str) -> Any:
    """The content of a YAML file as `Map`, `Seq` and scalars; BadScenario names the line."""
    try:
        loader = _Loader(file.read_text(encoding="utf-8"))
        node = loader.get_single_node()
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark else name
        raise BadScenario(where, f"not readable as YAML: {getattr(error, 'problem', None) or error}") from error
    if node is None:
        raise BadScenario(name, "the file is empty")
    return _value(loader, node, name)


def _value(loader: _Loader, node: yaml.Node, name: str) -> Any:
    if isinstance(node, yaml.MappingNode):
        return _map(loader, node, name)
    if isinstance(node, yaml.SequenceNode):
        found = Seq(_value(loader, item, name) for item in node.value)
        found.line, found.lines = _line(node), [_line(item) for item in node.value]
        return found
    if node.tag not in (BOOL, INT, FLOAT, NULL, "tag:yaml.org,2002:str"):
        raise BadScenario(f"{name}:{_line(node)}", f"the tag {node.tag} has no meaning here")
    return _scalar(node.tag, str(node.value))


def _scalar(tag: str, text: str) -> Any:
    if tag == BOOL:
        return text == "true"
    if tag == NULL:
        return None
    return int(text) if tag == INT else float(text) if tag == FLOAT else text


def _map(loader: _Loader, node: yaml.MappingNode, name: str) -> Map:
    found = Map()
    found.line, found.lines = _line(node), {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        if key in found:
            raise BadScenario(f"{name}:{_line(key_node)}", f"{key!r} stands twice here")
        found[key] = _value(loader, value_node, name)
        found.lines[key] = _line(key_node)
    return found


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def line_of(content: Any, path: tuple[int | str, ...]) -> int:
    """The line of a place in what was read; of the last part of the path that is there."""
    line = int(getattr(content, "line", 1))
    for part in path:
        if isinstance(content, Map) and part in content:
            line, content = content.lines[str(part)], content[str(part)]
        elif isinstance(content, Seq) and isinstance(part, int) and part < len(content):
            line, content = content.lines[part], content[part]
        else:
            break
    return line


def plain(value: Any) -> Any:
    """The same without lines."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value
