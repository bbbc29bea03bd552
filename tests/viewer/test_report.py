from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewer.charts import nice_ticks
from viewer.errors import ViewerError
from viewer.report import Act, Course, Picture, write_report

METRICS = {
    "peak_force_N": 4.237,
    "peak_displacement_mm": 30.16,
    "reference_error_mm": 0.0124,
    "median_frame_ms": 23.4,
    "worst_frame_ms": 61.0,
    "tets": 18234,
    "frames": 166,
    "state_hash": "cd" * 32,
}
FACTS = {
    "software": {"organtwin": "0.1.0"},
    "created": "2026-01-02T03:04:05+00:00",
    "warnings": ["The right kidney touches the edge of the scan."],
    "carried": {"portal_vein": "liver"},
    "structures": [
        {"name": "liver", "volume_ml": 1401.2, "mesh_volume_ml": 1416.1},
        {"name": "portal_vein", "volume_ml": 19.2, "mesh_volume_ml": None},
    ],
}


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for key, value in attrs if key in ("src", "href", "xlink:href", "data")]
        if tag not in ("meta", "img", "line", "rect", "circle", "polyline", "polygon"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)


@pytest.fixture
def page(small_case: Any, tmp_path: Path) -> str:
    for name in ("before", "peak"):
        Image.fromarray(np.full((20, 32, 3), 90, np.uint8)).save(tmp_path / f"{name}.png")
    time = np.linspace(0, 5, 51)
    course = Course(
        time,
        np.interp(time, [0, 3, 5], [0, 4.237, 0]),
        np.interp(time, [0, 3, 5], [0, 30.16, 0]),
        [Act(0, 3, "Pull", "30 mm towards the belly"), Act(3, 5, "Release")],
    )
    case = replace(small_case, title="Anna <i>& Co</i>", facts=FACTS)
    pictures = [
        Picture(tmp_path / "before.png", "Before"),
        Picture(tmp_path / "peak.png", "Peak", leading=True),
    ]
    write_report(tmp_path / "report.html", case, METRICS, pictures, course, warnings=["Vessels were given."])
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def test_numbers_stand_there_with_their_units(page: str) -> None:
    reader = Words()
    reader.feed(page)
    text = re.sub(r"\s+", " ", " ".join(reader.words))
    for expected in (
        "4.24 N",
        "30.2 mm",
        "0.012 mm",
        "23 ms",
        "1401 ml",
        "1416 ml*",
        "* with the vessels that run through it",
        "−0.3 %",
        "19.2 ml",
        "in the tissue",
        "18 234",
        "3.0–5.0 s",
        "30 mm towards the belly",
        "The right kidney touches the edge of the scan.",
        "Vessels were given.",
        "organtwin 0.1.0",
        "cd" * 32,
        "Not a medical device; for research use only",
        "Anna <i>& Co</i>",
    ):
        assert expected in text, expected


def test_the_page_loads_nothing(page: str) -> None:
    reader = Words()
    reader.feed(page)
    assert len(reader.links) == 2
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert not re.search(r"https?://|@import|url\(|<script|<link", page)
    assert reader.open == []


def test_the_leading_picture_comes_first(page: str) -> None:
    assert page.index("Peak</figcaption>") < page.index("Before</figcaption>")
    assert page.count('class="leading"') == 1


def test_what_was_not_measured_is_left_out(small_case: Any, tmp_path: Path) -> None:
    found = {"peak_force_N": 1.0, "reference_error_mm": 0.00009, "peak_displacement_mm": 0.0}
    write_report(tmp_path / "report.html", small_case, found, [], Course([0.0], [0.0], [0.0]))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1.00 <span>N</span>" in text
    assert "&lt; 0.001 <span>mm</span>" in text
    assert "0.0 <span>mm</span>" in text
    assert "<dt>Median frame" not in text
    assert not re.search(r"\b(None|nan|inf)\b", text)


def test_a_missing_picture_is_named_and_nothing_is_left(small_case: Any, tmp_path: Path) -> None:
    gone = [Picture(tmp_path / "gone.png", "Gone")]
    with pytest.raises(ViewerError, match=r"gone\.png cannot be read"):
        write_report(tmp_path / "report.html", small_case, METRICS, gone, Course([0.0], [0.0], [0.0]))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("top", "last"), [(4.2, 6.0), (30.2, 40.0), (0.07, 0.08), (1.0, 1.0), (0.0, 0.001)])
def test_ticks_are_round_and_reach_the_top(top: float, last: float) -> None:
    ticks = nice_ticks(top)
    assert ticks[0] == 0
    assert ticks[-1] == pytest.approx(last)
    assert 3 <= len(ticks) <= 6
