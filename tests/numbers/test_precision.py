"""The former place of the policies."""

from __future__ import annotations

import pytest

from insitu.numbers import precision
from insitu.passes.precision import make


def test_programs_written_before_the_policies_moved_find_them() -> None:
    with pytest.warns(DeprecationWarning, match=r"import make from insitu\.passes\.precision"):
        from insitu.numbers.precision import make as found
    assert found is make
    with pytest.raises(AttributeError):
        _ = precision.nothing
