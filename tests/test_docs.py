"""The docs are true: their code runs, their generated parts are what the script writes, their links lead somewhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("render_docs", ROOT / "scripts" / "render_docs.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_current() -> None:
    script = render()
    made = script.parts()
    for page in script.pages():
        text = page.read_text(encoding="utf-8")
        assert script.filled(text, made) == text, f"{page.name} is out of date: run `make docs`"
    used = {name for p in script.pages() for name in re.findall(r"<!-- generated: (.+?) -->", p.read_text())}
    assert used == set(made)


@pytest.mark.parametrize("page", [p for p in PAGES if "```python" in p.read_text()], ids=lambda p: p.name)
def test_code_runs(page: Path, tmp_path: Path) -> None:
    """All Python of a page, in order, in a process of its own."""
    code = "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL))
    script = tmp_path / "page.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=180, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "bytes" in done.stdout or "step " in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_rule_is_in_the_readme() -> None:
    from insitu.rules import RULES

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in RULES)


@pytest.mark.parametrize(
    "words", re.findall(r"^insitu (.+?)(?: {2,}#.*)?$", (ROOT / "README.md").read_text(), flags=re.M)
)
def test_commands_of_the_readme_parse(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Every flag of every command exists (the verbs themselves are tested elsewhere)."""
    from insitu.cli import main

    parts = words.replace(" | networks | data | precisions | targets | recipes", "").split()
    verbs = [p for p in parts[:2] if re.fullmatch("[a-z]+", p) and p not in ("mnist",)]
    nested = verbs[: 2 if verbs[0] in ("list", "show", "data", "export") else 1]
    assert main([*nested, "--help"]) == 0
    shown = capsys.readouterr().out
    for flag in (p for p in parts if p.startswith("--")):
        assert flag in shown, f"{flag} of `insitu {words}`"
