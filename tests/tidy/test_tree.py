"""The tree keeps its promises; each check is fed a bad sample that it must refuse."""

from pathlib import Path

import pytest

from tests.tidy import tree

MAX_FUNCTION = 60
MAX_MODULE = 400


@pytest.mark.parametrize("package", tree.PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    assert tree.wrong_imports(package) == []


def test_what_decides_imports_nothing_of_what_tells_people_about_it() -> None:
    assert tree.imports_around_the_core() == []


def test_the_map_of_the_core_names_every_module_once() -> None:
    assert tree.wrong_in_the_map() == []


@pytest.mark.parametrize("package", ["processors", "schemas"])
def test_the_core_calls_no_clock_no_chance_and_no_files(package: str) -> None:
    assert tree.impure_calls(package) == []


@pytest.mark.parametrize("package", tree.PACKAGES)
def test_functions_and_modules_stay_short(package: str) -> None:
    assert tree.long_functions(package, MAX_FUNCTION) == {}
    assert tree.long_modules(package, MAX_MODULE) == {}


def test_a_core_that_reaches_out_is_found(tmp_path: Path) -> None:
    core = tmp_path / "processors"
    core.mkdir()
    (core / "bad.py").write_text("import faust\nfrom streams.app import x\nimport datetime\nnow = datetime.now()\n")
    assert tree.wrong_imports("processors", tmp_path) == [
        "processors/bad.py:1 imports faust",
        "processors/bad.py:2 imports streams",
    ]
    assert tree.impure_calls("processors", tmp_path) == ["processors/bad.py:4 calls datetime.now"]


def test_a_core_that_leans_on_its_explanation_is_found(tmp_path: Path) -> None:
    for name, source in {
        "judge.py": "from processors import grants, explain\nfrom processors.explain.text import WIDTH, as_text\n",
        "policy/model.py": "from ..explain import text\nfrom .contact import Contact\nfrom .. import lint\n",
        "policy/bundle.py": "import processors.scenarios.tale\nfrom processors.lint import lint\n",
        "lint/names.py": "from processors.explain.requirement import one_of\nfrom processors.lint import terms\n",
        "explain/action.py": "from processors.judge import judge\nfrom processors.lint import lint\n",
    }.items():
        (tmp_path / "processors" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "processors" / name).write_text(source)
    assert tree.imports_around_the_core(tmp_path) == [
        "processors/explain/action.py:2 imports processors.lint",
        "processors/judge.py:1 imports processors.explain",
        "processors/judge.py:2 imports processors.explain",
        "processors/policy/bundle.py:1 imports processors.scenarios",
        "processors/policy/bundle.py:2 imports processors.lint",
        "processors/policy/model.py:1 imports processors.explain",
        "processors/policy/model.py:3 imports processors.lint",
    ]


def test_a_map_that_the_tree_has_outgrown_is_found(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "design.md").write_text(
        "## The modules of the core\n\n| about | modules |\n|---|---|\n| `a` | `fold` `judge` `lint/` |\n"
        "| x | `fold` |\n\n## Next\n\n| x | `draft` |\n"
    )
    for name in ("__init__.py", "fold.py", "draft.py", "lint/__init__.py", "explain/__init__.py"):
        (tmp_path / "processors" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "processors" / name).touch()
    assert tree.wrong_in_the_map(tmp_path) == [
        "draft is not named",
        "explain/ is not named",
        "fold is named twice",
        "judge is not there",
    ]


def test_a_function_and_a_module_that_are_too_long_are_found(tmp_path: Path) -> None:
    core = tmp_path / "processors"
    core.mkdir()
    (core / "long.py").write_text("def f():\n" + "    x = 1\n" * 100)
    assert tree.long_functions("processors", 60, tmp_path) == {"processors/long.py:f": 101}
    assert tree.long_modules("processors", 100, tmp_path) == {"processors/long.py": 101}
