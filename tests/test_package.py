"""What is published: wheel and source archive, each installed alone in a new environment away from the checkout.

Takes minutes and a package index, so it is run on demand: ``INSITU_PACKAGE=1 pytest tests/test_package.py``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
on_demand = pytest.mark.skipif(
    not os.environ.get("INSITU_PACKAGE"), reason="set INSITU_PACKAGE=1: takes minutes"
)

TINY = ("--epochs", "1", "--seeds", "1", "--set", "limit_train=64", "--set", "limit_test=32", "--quiet")
CONFIG = "data: digits\nnetwork: mlp-64-16-10\nrule: drtp\nprecision: edge-latent-free-8\nbatch: 1\nlimit_train: 32\n"


def run(*words: object, cwd: Path, **env: str) -> str:
    plain = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd, env=plain | env, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of both archives."""
    folder = tmp_path_factory.mktemp("dist")
    tools = folder / "tools"
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tools, "hatchling", cwd=folder)
    run(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT, PYTHONPATH=str(tools))
    return folder


@on_demand
def test_twine_finds_the_archives_fit_for_an_index(built: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "pip", "install", "--quiet", "--target", tmp_path, "twine", cwd=tmp_path)
    archives = sorted([*built.glob("*.whl"), *built.glob("*.tar.gz")])
    text = run(
        sys.executable, "-m", "twine", "check", "--strict", *archives, cwd=built, PYTHONPATH=str(tmp_path)
    )
    assert len(archives) == 2 and text.count("PASSED") == 2


@on_demand
@pytest.mark.parametrize("archive", ["*.whl", "*.tar.gz"])
def test_an_archive_works_alone(archive: str, built: Path, tmp_path: Path) -> None:
    """The dependencies are those of this environment, insitu is the archive's."""
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    (file,) = built.glob(archive)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", file, cwd=tmp_path)
    site = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = run(python, "-c", "import insitu; print(insitu.__file__)", cwd=tmp_path)
    assert where.startswith(str(tmp_path))

    insitu = tmp_path / "venv" / "bin" / "insitu"
    run(insitu, "compare", "--rules", "bp,drtp", *TINY, "--out", "compare", cwd=tmp_path)
    assert (tmp_path / "compare" / "report.html").is_file()
    (tmp_path / "run.yaml").write_text(CONFIG)
    run(
        insitu, "export", "c", "run.yaml", "-o", "project", cwd=tmp_path, INSITU_CACHE=str(tmp_path / "cache")
    )
    assert (tmp_path / "project" / "insitu_net.c").is_file()


def test_every_dependency_has_its_licence_listed() -> None:
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    page = (ROOT / "docs" / "licences.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| ([a-z0-9-]+) \| ([^|]+) \|", page, flags=re.MULTILINE))
    for text in wanted:
        name = re.split(r"[^A-Za-z0-9._-]", text)[0].lower()
        assert listed.get(name, "").strip(), f"{name} is not in docs/licences.md: run scripts/licences.py"
    assert "see the package" not in page
