"""No two files of the package import each other, not even through others or inside functions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src"
MODULES = {
    ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in SOURCE.rglob("*.py")
}

LAZY = "insitu.step"
"""Its imports inside functions are left out: a step prints and verifies itself."""


def _imported(name: str, path: Path) -> Iterator[str]:
    """The modules of the package that a file imports, but for those of its annotations alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if not _of_types(node)]
    for node in tree.body if name.startswith(LAZY) else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = {f"{module}.{alias.name}" for alias in node.names}
            yield from names & MODULES.keys() or {module}


def _of_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _circle(graph: dict[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def test_no_imports_in_a_circle() -> None:
    graph = {name: {n for n in _imported(name, path) if n in MODULES} for name, path in MODULES.items()}
    assert len(graph) > 100 and "insitu.step.ir" in graph["insitu.run.program"]
    assert _circle(graph) == []


def test_a_circle_is_seen() -> None:
    assert _circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) and not _circle({"a": {"b"}, "b": {"c"}})
