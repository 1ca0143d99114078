"""C computes the bits of the integer reference: every integer-ready rule, precision and op that is exported."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from insitu.rules import RULES
from insitu.rules.facts import integer_ready
from insitu.rules.protocol import make_rule
from tests.backends.programs import pair
from tests.run.cases import OPTIONS
from tests.run.test_integer import POLICIES

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

READY = [name for name in RULES if integer_ready(make_rule(name, OPTIONS.get(name)))]
STEPS = 100


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("rule", READY)
def test_mlp_equals_the_reference(rule: str, policy: str) -> None:
    both = pair(rule, "mlp", policy, batch=2)
    assert next(both.learn(STEPS), None) is None
    mine, theirs = both.scores()
    assert np.array_equal(mine, theirs)
