"""What ``insitu export c --form`` refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from insitu.backends.c.project import write
from insitu.cli import main
from insitu.errors import ConfigError
from tests.backends.wrappers.helpers import GCC, Learned, config_of

pytestmark = GCC


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--form", "cobol"], "form 'cobol' is unknown; use one of plain, single-header, "),
        (["--form", "single-header", "--board", "m4"], "--board builds the plain project"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "c", str(config_of(tmp_path)), "-o", str(tmp_path / "c"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and reason in error and not (tmp_path / "c").exists()


def test_a_folder_of_another_form_is_left_alone(sample: Learned, tmp_path: Path) -> None:
    for first, second in (("arduino", "platformio"), ("plain", "single-header"), ("zephyr", "plain")):
        out = tmp_path / first
        for _ in range(2):  # over itself
            write(sample.program, out, form=first)
        with pytest.raises(ConfigError, match="holds other files"):
            write(sample.program, out, form=second)
