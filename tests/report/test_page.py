from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from insitu.errors import CheckpointError, ConfigError
from insitu.experiment.record import Results
from insitu.report.page import render_report, write_report
from tests.report import factory

VOID = {"meta", "br", "path", "circle", "rect"}


class Page(HTMLParser):
    """Elements with their attributes; fails where tags do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def values(self, attribute: str) -> list[str]:
        return [v for _, attrs in self.found if (v := attrs.get(attribute)) is not None]


@pytest.fixture(scope="module")
def html(results: Results) -> str:
    return render_report(results)


def test_nothing_is_loaded_from_outside(html: str) -> None:
    assert not re.search(r"https?://", html)
    assert not re.search(r"@import|url\(|@font-face", html)
    page = Page(html)
    assert page.values("src") == []
    assert all(link.startswith("#") for link in page.values("href"))
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in page.values("href")} <= set(ids)


def test_every_rule_is_in_every_part(html: str) -> None:
    page = Page(html)
    charts = [attrs for tag, attrs in page.found if tag == "svg" and "chart" in (attrs.get("class") or "")]
    # Two charts a network; a picture for each rule and view, and the two that are shown.
    assert len(charts) == 2 * (2 + 2 * len(factory.RULES) + 2)
    for rule in factory.RULES:
        marks = [tag for tag, attrs in page.found if attrs.get("data-rule") == rule]
        assert {"tr", "li", "g"} <= set(marks)
    for row in factory.results().rows:
        assert row.command in html


def test_summary_and_facts(html: str) -> None:
    assert "10 learning rules on 2 networks, trained on digits in float32 with batches of 32 and sgd" in html
    assert "Made 2026-11-24 07:29 UTC by insitu 0.1.0." in html
    assert "Best test accuracy: bp, 97.00 ± 0.40 %." in html
    assert "Lowest peak: drtp-regenerated" in html
    assert "lr: 0.2" in html


def test_the_summary_says_what_differs_among_the_rows(results: Results) -> None:
    mixed = factory.changed(results, 0, precision="edge-latent-free-8", batch=1)
    assert "in edge-latent-free-8 and float32 with batches of 1 and 32 and sgd" in render_report(mixed)


def test_a_row_at_chance_is_marked_in_the_table(results: Results) -> None:
    assert "not above the share of the most frequent class" not in render_report(results)
    html = render_report(factory.changed(results, 0, majority=0.99, tested=100))
    assert "not above the share of the most frequent class" in html and ">chance<" in html


def test_hostile_names_stay_text(results: Results) -> None:
    evil = '</script><script>alert("x")</script>\'{{ 7*7 }}'
    timeline = [results.rows[0].timeline[0].model_copy(update={"op": evil, "layer": evil})]
    found = factory.changed(
        results, 0, label=evil, rule=evil, command=evil, paper=evil, data=evil, timeline=timeline
    ).model_copy(update={"environment": {evil: evil}, "config": {evil: evil}, "command": evil})
    page = Page(render_report(found))
    scripts = [attrs.get("type") for tag, attrs in page.found if tag == "script"]
    assert scripts.count(None) == 1
    assert not any('alert("x")' in tag for tag, _ in page.found)
    assert evil in page.values("data-rule")


def test_the_page_stays_small(results: Results) -> None:
    assert len(render_report(results).encode()) < 1_500_000
    assert len(render_report(factory.results(layers=(300, 300))).encode()) < 1_500_000


def test_several_comparisons(results: Results) -> None:
    html = render_report([results, results])
    page = Page(html)
    assert html.count("How to reproduce</h2>") == 2
    assert len(page.values("id")) == len(set(page.values("id")))


def test_unusual_results(results: Results) -> None:
    one = results.model_copy(update={"rows": results.rows[:1]})
    Page(render_report(factory.changed(one, 0, timeline=[], eager_timeline=[], curves=[], bytes_to_bp=None)))
    lost = render_report(factory.changed(one, 0, test_accuracy=None, diverged=3))
    assert "Not shown: bp (3 of 3 seeds diverged)." in lost
    planned = results.rows[0].peak_bytes.model_copy(update={"total": 10**6})
    assert "planned peak 977 KiB" in render_report(factory.changed(one, 0, peak_bytes=planned))


def test_loss_takes_the_place_of_accuracy(results: Results) -> None:
    blank = [c.model_copy(update={"test_accuracy": [None] * 20}) for c in results.rows[0].curves]
    rows = [r.model_copy(update={"test_accuracy": None, "curves": blank}) for r in results.rows[:3]]
    html = render_report(results.model_copy(update={"rows": rows}))
    assert "Loss against memory" in html
    assert "Best test loss: bp, 0.030 ± 0.004." in html


def test_writing(results: Results, tmp_path: Path) -> None:
    path = tmp_path / "new" / "report.html"
    assert write_report(results, path) == path
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="nothing to report"):
        write_report(results.model_copy(update={"rows": []}), path)
    with pytest.raises(ConfigError, match="nothing to report"):
        write_report([], path)
    assert path.read_bytes() == before
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_report(results, path / "below.html")
