"""A folder holds one comparison, grid or search, and nothing of another is lost."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from insitu.errors import CheckpointError
from insitu.experiment.config import CompareConfig
from insitu.experiment.folder import STORED, begin

CONFIG = CompareConfig.model_validate({"rules": [{"rule": "bp"}], "networks": ["mlp-64-8-10"]})


@pytest.mark.parametrize(("kind", "other"), [p for p in product(STORED, STORED) if p[0] != p[1]])
def test_a_folder_of_another_kind_is_refused(tmp_path: Path, kind: str, other: str) -> None:
    begin(tmp_path, other, CONFIG, False)
    before = (tmp_path / STORED[other]).read_bytes()
    with pytest.raises(CheckpointError, match=f"holds the {STORED[other]} of something else; pass another"):
        begin(tmp_path, kind, CONFIG, True)
    assert [p.name for p in tmp_path.iterdir()] == [STORED[other]]
    assert (tmp_path / STORED[other]).read_bytes() == before


def test_a_folder_goes_on_with_its_own_configuration_alone(tmp_path: Path) -> None:
    begin(tmp_path, "comparison", CONFIG, False)
    with pytest.raises(CheckpointError, match="already holds a comparison; pass --resume"):
        begin(tmp_path, "comparison", CONFIG, False)
    other = CONFIG.model_copy(update={"epochs": CONFIG.epochs + 1})
    with pytest.raises(CheckpointError, match=r"another configuration; resume with its own compare\.yaml"):
        begin(tmp_path, "comparison", other, True, lambda config: config.epochs)
    begin(tmp_path, "comparison", CONFIG, True, lambda config: config.epochs)
