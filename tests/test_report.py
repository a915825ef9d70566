"""Scores as CSV, JSON and page."""

import base64
import csv
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from impasto.metrics import Scores
from impasto.pairs import Pair
from impasto.report import MEASURES, Report, Result

SCORES = [
    Scores(0.5, 0.1, 0.25, 0.3, 0.01),
    Scores(1.0, 0.2, 1.5, 0.6, 0.02),
    Scores(0, 0, 0, 0, 1),
]
SCORE = [1.5 * 1.25**2, 2.0 * 2.5**2, 1.0]


@pytest.fixture
def report(folder):
    """Three results over two real pictures; one has a name to be escaped."""
    odd = folder / "a<b>&c.png"
    Image.new("RGBA", (800, 400), (200, 10, 10, 128)).save(odd)
    photo, painting = folder / "photo.png", folder / "painting.png"
    pairs = [Pair(photo, photo, painting), Pair(odd, photo, painting), Pair(painting, photo, odd)]
    return Report([Result(pair, scores) for pair, scores in zip(pairs, SCORES, strict=True)])


def test_worst_first(report):
    assert [result.scores.score for result in report.results] == sorted(SCORE, reverse=True)


def test_means_and_medians(report):
    assert list(report.mean) == list(report.median) == list(MEASURES)
    assert report.mean["score"] == pytest.approx(np.mean(SCORE))
    assert report.median["score"] == pytest.approx(np.median(SCORE))
    assert report.mean["frechet"] == pytest.approx(0.3)
    assert report.median["total_variation"] == 0.02


def test_csv(report, folder):
    report.write_csv(folder / "r.csv")
    rows = list(csv.DictReader(io.StringIO((folder / "r.csv").read_text())))
    assert list(rows[0]) == ["painted", "photo", "painting", *MEASURES]
    assert rows[0]["painted"] == str(folder / "a<b>&c.png")
    assert float(rows[0]["style"]) == 1.5
    assert [float(row["score"]) for row in rows] == sorted(SCORE, reverse=True)


def test_json(report, folder):
    report.write_json(folder / "r.json")
    content = json.loads((folder / "r.json").read_text())
    assert content["mean"] == report.mean
    assert content["median"] == report.median
    assert [pair["score"] for pair in content["pairs"]] == sorted(SCORE, reverse=True)
    assert content["pairs"][0]["photo"] == str(folder / "photo.png")


def test_file_names_that_are_no_text(folder):
    pair = Pair(Path("a\udcff.png"), folder / "photo.png", folder / "painting.png")
    Report([Result(pair, SCORES[0])]).write_csv(folder / "r.csv")
    assert "\na?.png," in (folder / "r.csv").read_text()


class Page(HTMLParser):
    """What a page shows: sources of images, captions, and whether all tags are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.sources, self.texts = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.sources.append(dict(attributes)["src"])
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_the_page_is_whole_and_needs_nothing_else(report, folder):
    report.write_html(folder / "r.html")
    text = (folder / "r.html").read_text()
    page = Page()
    page.feed(text)
    assert page.open == []
    assert not re.search(r"https?:|<script|<link|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    names = ["photo.png", "painting.png", "a<b>&c.png"]
    captions = [text for text in page.texts if text in names]
    assert captions == [
        *("photo.png", "painting.png", "a<b>&c.png"),
        *("photo.png", "painting.png", "photo.png"),
        *("photo.png", "a<b>&c.png", "painting.png"),
    ]
    assert len(page.sources) == 9
    prefix = "data:image/jpeg;base64,"
    with Image.open(io.BytesIO(base64.b64decode(page.sources[2].removeprefix(prefix)))) as image:
        assert image.size == (360, 180)
    for meaning in MEASURES.values():
        assert meaning in page.texts
    assert f"{np.mean(SCORE):.3f}" in page.texts
