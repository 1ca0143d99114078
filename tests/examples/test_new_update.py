"""A weight update from outside, two files: it trains with the same bits in torch, in plain integers and in C."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from insitu.backends.c import updates
from insitu.backends.c.project import kernels_of
from insitu.ops.updates import METHODS
from insitu.passes.precision import make
from tests.backends.programs import pair
from tests.run.cases import twin

FOLDER = Path(__file__).parents[2] / "examples" / "new_update"
POLICY = "edge-latent-free-8:update=clipped,most=2"


@pytest.fixture(autouse=True)
def imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(str(FOLDER))
    importlib.import_module("clipped")
    yield
    del METHODS["clipped"], sys.modules["clipped"]


def test_a_policy_reads_and_writes_its_option() -> None:
    policy = make(POLICY)
    assert policy is not None and make(str(policy)) == policy
    found = policy.as_dict()
    assert (found["update"], found["most"]) == ("clipped", 2)


def test_torch_and_the_integers_agree() -> None:
    run = twin("bp", "mlp-tanh", POLICY)
    run.advance(20, lr=0.5)
    assert run.unequal() == []
    assert run.moved()


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")
def test_c_and_the_integers_agree() -> None:
    both = pair("bp", "mlp-tanh", POLICY, batch=2)
    assert next(both.learn(20), None) is None
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)
    used = updates.header(updates.used(both.program.steps))
    assert "update_clipped.c" in [path.name for path in kernels_of([used])]
