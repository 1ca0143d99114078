"""Python files of a user's own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from insitu.errors import ConfigError, NetworkError
from insitu.inputs.foreign import loaded

MAKE = "from torch import nn\n\ndef make():\n    return nn.Linear(4, 2)\n"


def value(path: Path, function: str = "make") -> object:
    with loaded(f"{path}:{function}") as made:
        return made()


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


ENDS = {
    "SystemExit": "import sys; sys.exit(0)",
    "KeyboardInterrupt": "raise KeyboardInterrupt",
    "GeneratorExit": "raise GeneratorExit",
    "Own": "class Own(BaseException): pass\nraise Own('over')",
    "Silent": "class Silent(BaseException):\n    def __str__(self): raise SystemExit\nraise Silent",
    "ZeroDivisionError": "1 / 0",
    "RecursionError": "def f(): return f()\nf()",
    "MemoryError": "raise MemoryError",
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_of_a_file_is_an_error_of_that_file(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / "net.py", f"x = 1\n{ENDS[name]}\n")
    with pytest.raises(
        ConfigError, match=rf"net\.py:make': net\.py does not run at net\.py:\d+: {name}.*correct"
    ):
        value(path)


@pytest.mark.parametrize("name", ENDS)
def test_every_end_of_the_function_is_an_error_of_that_file(tmp_path: Path, name: str) -> None:
    body = "\n    ".join(ENDS[name].splitlines())
    path = written(tmp_path / "net.py", f"def make():\n    {body}\n")
    with pytest.raises(ConfigError, match=rf"the function failed at net\.py:\d+: {name}"):
        value(path)


@pytest.mark.parametrize("text", ["def make(:", "\0", "\xff" * 3, "(" * 500])
def test_a_file_that_is_no_python(tmp_path: Path, text: str) -> None:
    path = tmp_path / "net.py"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError, match=r"net\.py does not run: \w+Error"):
        value(path)


@pytest.mark.parametrize(
    ("function", "reason"),
    [("none", "has no function 'none'"), ("x", "has no function 'x'"), ("a b", "is no name")],
)
def test_a_function_that_is_not_there(tmp_path: Path, function: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        value(written(tmp_path / "net.py", f"x = 1\n{MAKE}"), function)


def test_refusals_of_insitu_pass(tmp_path: Path) -> None:
    text = "from insitu.errors import NetworkError\ndef make(): raise NetworkError('mine')\n"
    with pytest.raises(NetworkError, match=r"^mine$"):
        value(written(tmp_path / "net.py", text))


def test_modules_beside_the_file_are_found_and_forgotten(tmp_path: Path) -> None:
    text = "from parts import value\ndef make():\n    from pack.later import more\n    return value, more\n"
    for n, name in enumerate("ab"):
        written(tmp_path / name / "net.py", text)
        written(tmp_path / name / "parts.py", f"value = {n}\n")
        written(tmp_path / name / "pack" / "__init__.py", "")
        written(tmp_path / name / "pack" / "later.py", f"more = {n + 10}\n")
    path, modules = list(sys.path), set(sys.modules)
    assert [value(tmp_path / name / "net.py") for name in "aba"] == [(0, 10), (1, 11), (0, 10)]
    assert sys.path == path
    assert set(sys.modules) == modules
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_edit_of_equal_size_within_a_second_is_seen(tmp_path: Path) -> None:
    path = written(tmp_path / "net.py", "import parts\ndef make(): return parts.value\n")
    for n in range(3):
        written(tmp_path / "parts.py", f"value = {n}\n")
        assert value(path) == n


def test_a_module_that_is_loaded_gives_way_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = type(sys)("parts")
    monkeypatch.setitem(sys.modules, "parts", mine)
    written(tmp_path / "parts.py", "value = 7\n")
    assert value(written(tmp_path / "net.py", "import parts\ndef make(): return parts.value\n")) == 7
    assert sys.modules["parts"] is mine


def test_what_a_file_prints_is_no_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value(written(tmp_path / "net.py", "print('hello')\ndef make(): print('there')\n"))
    out, err = capsys.readouterr()
    assert (out, err) == ("", "hello\nthere\n")
