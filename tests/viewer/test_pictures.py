from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from viewer import picture
from viewer.errors import ViewerError
from viewer.pictures import Studio, slice_figure


def test_picture_of_a_case_fills_its_frame(small_case: Any, tmp_path: Path) -> None:
    pixels = picture(small_case, tmp_path / "case.png", size=(320, 200))
    assert pixels.shape == (200, 320, 3)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "case.png")), pixels)
    # Tissue is redder than the room; it fills the fitted share of the picture and leaves a margin.
    tissue = pixels[..., 0].astype(int) - pixels[..., 2] > 25
    rows, columns = np.flatnonzero(tissue.any(axis=1)), np.flatnonzero(tissue.any(axis=0))
    assert 0.6 < max(np.ptp(rows) / 200, np.ptp(columns) / 320) < 0.9
    assert not tissue[:, 0].any()
    assert not tissue[:, -1].any()


def test_edges_of_a_still_are_smooth(small_case: Any) -> None:
    with Studio(small_case, (320, 200), hud=False) as studio:
        still = studio.still(size=(320, 200)).astype(int)
        assert studio.frame().shape == (200, 320, 3)
    between = []
    for row in still[60:140, :, 0]:
        start = int((row > 60).argmax())
        room, inside = row[start - 4], row[start + 4]
        edge = row[start - 2 : start + 3]
        between.append(((edge > room + 8) & (edge < inside - 8)).any())
    assert np.mean(between) > 0.3  # a sharp cut between room and tissue has none


def test_frames_show_the_deformation_and_the_numbers(small_case: Any) -> None:
    with Studio(small_case, (480, 300)) as studio:
        before = studio.frame().astype(int)
        studio.scene.grasp("grasper", small_case.pole_mm, 10.0)
        studio.scene.update(small_case.pulled(25.0))
        pulled_frame = studio.frame().astype(int)
        studio.scene.rest()
        after = studio.frame().astype(int)
    changed = np.abs(pulled_frame - before).sum(axis=2) > 30
    assert changed[:200].sum() > 1000  # tissue and tool
    assert changed[-50:, :80].sum() > 30  # the force written below
    assert np.abs(after - before).max() <= 2


def test_slice_figure_shows_all_outlines(small_case: Any, tmp_path: Path) -> None:
    slice_figure(small_case, tmp_path / "slices.png", small_case.pulled(25.0).displacement)
    pixels = np.asarray(Image.open(tmp_path / "slices.png").convert("RGB")).astype(int)
    assert pixels.shape[1] > 2 * pixels.shape[0]
    from viewer import theme

    for name in small_case.surfaces:
        colour = np.round(np.array(theme.colour_of(name)) * 255)
        assert (np.abs(pixels - colour).sum(axis=2) < 40).sum() > 150


def test_a_missing_folder_is_named(small_case: Any, tmp_path: Path) -> None:
    with pytest.raises(ViewerError, match="there is no folder"):
        picture(small_case, tmp_path / "nowhere" / "case.png", size=(64, 48))
