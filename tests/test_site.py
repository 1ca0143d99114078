"""The site of the docs: built without a warning, whole, and quiet in a browser."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import MISSING, opened

ROOT = Path(__file__).parents[1]
for needed in ("furo", "myst_nb"):
    pytest.importorskip(needed, reason="needs the extra docs: pip install -e '.[docs]'")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "docs", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def pages(site: Path) -> list[Path]:
    return [*site.resolve().glob("*.html"), *site.resolve().glob("notebooks/*.html")]


def test_a_notebook_shows_what_it_printed_and_drew(site: Path) -> None:
    text = (site / "notebooks" / "compare-rules.html").read_text(encoding="utf-8")
    assert "over inference" in text and 'class="output' in text and "<img" in text


def test_every_page_is_in_a_table_of_contents(site: Path) -> None:
    index = (site / "index.html").read_text(encoding="utf-8")
    tree = index[index.index("sidebar-tree") :]
    docs = ROOT / "docs"
    for page in [*docs.glob("*.md"), *docs.glob("notebooks/*.ipynb")]:
        target = page.relative_to(docs).with_suffix(".html").as_posix()
        assert page.stem == "index" or f'href="{target}"' in tree, page.name


def test_links_lead_somewhere(site: Path) -> None:
    """Pages, headings and pictures; what is elsewhere is not asked for."""
    texts = {path: path.read_text(encoding="utf-8") for path in pages(site)}
    for page, text in texts.items():
        for link in re.findall(r'(?:href|src)="([^"]+)"', text):
            if "://" in link or link.startswith(("#", "data:", "mailto:")):
                continue
            name, _, anchor = link.partition("#")
            target = (page.parent / name.partition("?")[0]).resolve()
            assert target.exists(), f"{page.name}: {link}"
            assert not anchor or f'id="{anchor}"' in texts[target], f"{page.name}: {link}"


def test_the_reference_has_the_docstrings(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    assert all(f'id="insitu.{name}"' in text for name in ("train", "compare", "cost", "capture"))
    assert "Parameters" in text and "Raises" in text


def test_nothing_is_loaded_from_outside(site: Path) -> None:
    for path in pages(site):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(
            r'(?:<script[^>]+src|<img[^>]+src|<link rel="stylesheet"[^>]+href)="([^"]+)"', text
        )
        assert loaded and not [link for link in loaded if "://" in link], path.name


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with opened(tmp_path_factory.mktemp("profile")) as context:
        yield context


@MISSING
@pytest.mark.parametrize("width", [400, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["index", "own-data", "api", "notebooks/compare-rules"])
def test_a_page_in_a_browser(browser: Any, site: Path, name: str, width: int, scheme: str) -> None:
    page, trouble = browser.new_page(), []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme=scheme)
    page.goto((site / f"{name}.html").as_uri())
    assert page.locator("h1").first.is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "the page is wider than the window"
    page.close()
    assert trouble == []
