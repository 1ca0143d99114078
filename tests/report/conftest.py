"""One comparison that all tests of the report look at; nobody changes it."""

from __future__ import annotations

import pytest

from insitu.experiment.record import Results
from tests.report import factory


@pytest.fixture(scope="session")
def results() -> Results:
    return factory.results()
