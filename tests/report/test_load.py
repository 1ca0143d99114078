from __future__ import annotations

import json
from pathlib import Path

import pytest

from insitu.errors import ConfigError
from insitu.experiment.record import Results
from insitu.report.page import load_results


def test_files_and_folders(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(results.model_dump_json())
    assert load_results([tmp_path, file]) == [results, results]


def refusal(paths: list[Path]) -> str:
    with pytest.raises(ConfigError) as caught:
        load_results(paths)
    message = str(caught.value)
    assert "\n" not in message
    assert all(str(path) in message for path in paths)
    return message


def test_missing(tmp_path: Path) -> None:
    assert "No such file" in refusal([tmp_path])
    assert "insitu compare" in refusal([tmp_path / "gone.json"])
    assert "pass files or folders" in refusal([])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("{", "no JSON"),
        ('{"version": 1, "rows"', "no JSON"),
        ("\xff", "UTF-8"),
        ("[" * 100_000, "nested deeper"),
        ('{"version": 1, "created": "\\ud800"}', "holds a character"),
    ],
)
def test_no_json(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "results.json"
    file.write_bytes(text.encode("latin-1"))
    assert reason in refusal([file])


def test_another_version(results: Results, tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps(results.model_dump(mode="json") | {"version": 2}))
    assert "version 2, this insitu reads version 1" in refusal([file])
    file.write_text("[]")
    assert "version None" in refusal([file])


def test_damage_is_named(results: Results, tmp_path: Path) -> None:
    raw = results.model_dump(mode="json")
    del raw["rows"][3]["peak_bytes"]["total"]
    file = tmp_path / "results.json"
    file.write_text(json.dumps(raw))
    assert "rows.3.peak_bytes.total" in refusal([file])


def test_a_grid_is_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"version": 1, "kind": "grid", "rows": []}', encoding="utf-8")
    with pytest.raises(ConfigError, match="are a grid's, whose table and heat map lie beside it"):
        load_results([tmp_path])


def test_an_adaptation_is_no_comparison(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"version": 1, "kind": "adapt", "rows": []}', encoding="utf-8")
    with pytest.raises(ConfigError, match="are an adaptation's, whose page lies beside it"):
        load_results([tmp_path])
