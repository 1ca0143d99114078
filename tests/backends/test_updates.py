"""Weight updates in C: the list of methods that kernels dispatch on."""

from __future__ import annotations

from insitu.backends.c import updates
from insitu.backends.c.project import kernels_of
from insitu.backends.c.templates import RUNTIME
from tests.backends.programs import pair


def test_the_list_of_the_runtime_is_current() -> None:
    """`python -c` with this expression writes it: what kernels are compiled with where there is no program."""
    assert (RUNTIME / "insitu_updates.h").read_text(encoding="utf-8") == updates.header(updates.known())


def test_a_program_has_the_kernels_of_its_updates_alone() -> None:
    for policy, wanted in (
        ("edge-latent-free-8", []),
        ("edge-latent-free-8:update=error-feedback,group_size=1,threshold=4", ["error_feedback"]),
        ("w1a8-free:update=bop", ["bop"]),
        ("w8a8", ["master"]),
    ):
        found = updates.used(pair("drtp", "mlp", policy, batch=1).program.steps)
        assert [m.kernel for m in found] == wanted
        kernels = {path.stem for path in kernels_of([updates.header(found)])}
        assert {name for name in kernels if name.startswith("update_")} == {f"update_{m}" for m in wanted}
