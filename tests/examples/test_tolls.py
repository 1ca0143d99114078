"""What touches what: the files that an extension takes, as CONTRIBUTING.md says it, counted in the tree itself."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import insitu.ops  # noqa: F401  (fills OPS)
from insitu.backends.c.updates import known
from insitu.ops.updates import METHODS
from insitu.step.ir import OPS, Level

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "insitu"
TEXTS = {
    path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
    for end in ("*.py", "*.c", "*.h", "*.md")
    for path in SOURCE.rglob(end)
}
OF_AN_OP = 8
"""Record, integer meaning, quantization rule, C call, kernel, prototype, definition, and operands of its example."""


NAMED = re.compile(r'"(\w+)"|^def (\w+)\(|^## (\w+)$|\binsitu_(\w+)\(', re.MULTILINE)
WORDS = {
    name: {word for found in NAMED.finditer(text) for word in found.groups()} for name, text in TEXTS.items()
}


def naming(kind: str) -> list[str]:
    """The files that name an op; rules and networks, which use ops, aside, and microcode, which may refuse it."""
    aside = ("rules", "network", "backends/engine")
    return [name for name, words in WORDS.items() if not name.startswith(aside) and kind in words]


def extension(name: str, ends: tuple[str, ...]) -> list[str]:
    """The source files of an example."""
    return sorted(p.name for p in (ROOT / "examples" / name).rglob("*") if p.suffix in ends)


def test_an_op_with_a_kernel_is_named_in_eight_files() -> None:
    made = [
        k for k, r in OPS.items() if Level.INTEGER in r.level and f"backends/c/runtime/kernels/{k}.c" in TEXTS
    ]
    counts = {kind: len(naming(kind)) for kind in made}
    assert len(made) > 30 and median(counts.values()) == OF_AN_OP
    wider = {kind for kind, count in counts.items() if count > OF_AN_OP}
    assert (
        len(wider) < len(made) / 2
    )  # those that a pass matches by pattern, or whose name is also another word


def test_a_weight_update_is_its_method_and_its_kernel() -> None:
    assert extension("new_update", (".py", ".c")) == ["clipped.py", "update_clipped.c"]
    own = [method for method in METHODS.values() if method.__module__.startswith("insitu.")]
    assert {f"ops/updates/{method.name.replace('-', '_')}.py" for method in own} <= TEXTS.keys()
    for kernel in (method.kernel for method in known() if method.__module__.startswith("insitu.")):
        assert f"backends/c/runtime/kernels/update_{kernel}.c" in TEXTS


def test_a_printing_backend_is_a_file_and_an_engine_a_folder() -> None:
    assert extension("new_backend", (".py",)) == ["__init__.py", "engine.py", "insitu_graph.py"]
    assert not [n for n, text in TEXTS.items() if n.startswith("experiment") and "backends.c" in text]
