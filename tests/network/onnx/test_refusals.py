"""An operator without a layer is refused by its name, with what to use; a remedy never names what is refused itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from insitu.errors import NetworkError
from insitu.network import onnx as package
from insitu.network.onnx.nodes import TABLE
from insitu.network.onnx.refusals import FAMILIES, WITHOUT
from tests.network.onnx.graphs import W, conv, graph, loaded, node

OPERATORS = {schema.name for schema in onnx.defs.get_all_schemas()}


@pytest.mark.parametrize("domain", ["", "com.microsoft"])
@pytest.mark.parametrize("op", WITHOUT)
def test_refused_by_name_with_a_remedy(op: str, domain: str, tmp_path: Path) -> None:
    nodes = [conv("a"), node(op, ["a", "a"], ["y"], domain=domain, name="here")]
    with pytest.raises(NetworkError, match=rf"{op} 'here': this operator has no layer. ") as error:
        loaded(graph((3, 2, 5, 5), nodes, {"w": W}), tmp_path)
    assert str(error.value).endswith(WITHOUT[op])


def _texts(tree: ast.AST) -> Iterator[str]:
    yield from (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def _remedies() -> Iterator[str]:
    """Of the families, and the last argument of every refusal in the package."""
    yield from FAMILIES
    for path in Path(package.__file__).parent.glob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "refuse":
                yield from _texts(call.args[2])


@pytest.mark.parametrize("remedy", sorted(set(_remedies())))
def test_a_remedy_names_only_what_is_read(remedy: str) -> None:
    assert OPERATORS.intersection(re.findall(r"\w+", remedy)) <= TABLE.keys()


def test_remedies_are_found_and_are_of_operators_that_are_not_read() -> None:
    named = {word for text in _remedies() for word in re.findall(r"\w+", text)}
    assert {"Conv", "GlobalAveragePool", "LeakyRelu"} <= named
    assert not WITHOUT.keys() & TABLE.keys()
