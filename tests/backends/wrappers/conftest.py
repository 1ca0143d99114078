"""The program that most tests of the forms lay out."""

from __future__ import annotations

import pytest

from tests.backends.wrappers.helpers import Learned, learned, program_of


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learned(program_of(tmp_path_factory.mktemp("program")))
