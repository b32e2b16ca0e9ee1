"""The tree keeps its promises; each check is fed a bad sample that it must refuse."""

from pathlib import Path

import pytest

from tests.tidy import tree

MAX_FUNCTION = 60
MAX_MODULE = 400


@pytest.mark.parametrize("package", tree.PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    assert tree.wrong_imports(package) == []


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


def test_a_function_and_a_module_that_are_too_long_are_found(tmp_path: Path) -> None:
    core = tmp_path / "processors"
    core.mkdir()
    (core / "long.py").write_text("def f():\n" + "    x = 1\n" * 100)
    assert tree.long_functions("processors", 60, tmp_path) == {"processors/long.py:f": 101}
    assert tree.long_modules("processors", 100, tmp_path) == {"processors/long.py": 101}
