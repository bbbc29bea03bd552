from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap

NAMES = {1: "liver", 2: "spleen"}
TILT = np.array([[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]])


def scan(size: tuple[int, int, int] = (9, 8, 7), between: float = 2.3) -> sitk.Image:
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetSpacing((0.7, 1.1, between))
    image.SetDirection(TILT.ravel().tolist())
    image.SetOrigin((-40.0, 12.0, 100.0))
    return image


def labels(grid: sitk.Image, seed: int = 0) -> LabelMap:
    values = np.random.default_rng(seed).integers(0, 3, grid.GetSize()[::-1]).astype(np.uint8)
    values.ravel()[:2] = 1, 2
    image = sitk.GetImageFromArray(values)
    image.CopyInformation(grid)
    return LabelMap(image, NAMES)


def by_simpleitk(found: LabelMap, grid: sitk.Image) -> np.ndarray:
    moved = sitk.Resample(found.image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    return sitk.GetArrayFromImage(moved)


@given(
    seed=st.integers(0, 99),
    order=st.sampled_from(list(permutations(range(3)))),
    flips=st.tuples(*[st.booleans()] * 3),
    start=st.tuples(*[st.integers(0, 3)] * 3),
    size=st.tuples(*[st.integers(1, 6)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_any_part_of_the_scan_in_any_order_is_copied_exactly(
    seed: int,
    order: tuple[int, ...],
    flips: tuple[bool, ...],
    start: tuple[int, ...],
    size: tuple[int, ...],
) -> None:
    grid = scan()
    whole = labels(grid, seed)
    size = tuple(min(n, total - a) for n, total, a in zip(size, grid.GetSize(), start, strict=True))
    part = sitk.RegionOfInterest(whole.image, size, start)
    stored = sitk.Flip(sitk.PermuteAxes(part, list(order)), list(flips))
    array = sitk.GetArrayFromImage(stored)
    if not array.any():
        return
    found = LabelMap(stored, NAMES).matched_to(grid)
    expected = np.zeros_like(whole.array)
    inside = tuple(slice(a, a + n) for a, n in zip(start[::-1], size[::-1], strict=True))
    expected[inside] = whole.array[inside]
    assert np.array_equal(found.array, expected)
    assert found.warnings == []


def test_a_map_larger_than_the_scan_says_what_is_left_out() -> None:
    grid = scan()
    around = sitk.ConstantPad(grid, [2, 1, 3], [1, 2, 1], 0)
    found = labels(around)
    moved = found.matched_to(grid)
    assert np.array_equal(moved.array, by_simpleitk(found, grid))
    lost = 1 - (moved.array > 0).sum() / (found.array > 0).sum()
    assert moved.warnings == [f"{lost:.1%} of the labelled volume lies outside the scan and was left out"]


def test_labels_that_miss_the_scan_are_refused() -> None:
    grid = scan()
    far = scan()
    far.SetOrigin(grid.TransformIndexToPhysicalPoint((40, 0, 0)))
    with pytest.raises(AnatomyError, match=r"no label lies inside the scan.*Label map 9×8×7.*; scan 9×8×7"):
        labels(far).matched_to(grid)
    with pytest.raises(AnatomyError, match="no label lies inside the scan"):
        labels(far).matched_to(grid, resample="nearest")
    values = np.zeros((7, 8, 9), np.uint8)
    values[:, :, 8] = 1
    beside = sitk.GetImageFromArray(values)
    beside.CopyInformation(grid)
    half = sitk.RegionOfInterest(grid, [8, 8, 7], [0, 0, 0])
    with pytest.raises(AnatomyError, match="no label lies inside the scan"):
        LabelMap(beside, {1: "liver"}).matched_to(half)


@pytest.mark.parametrize("change", ["shift", "turn", "finer"])
def test_other_grids_are_refused_or_resampled_as_asked(change: str) -> None:
    grid, other = (scan((40, 36, 40), between=0.9) for _ in range(2))
    if change == "shift":
        other.SetOrigin(grid.TransformContinuousIndexToPhysicalPoint((0.4, 0.0, 0.0)))
    if change == "turn":
        other.SetDirection((TILT @ TILT).ravel().tolist())
    if change == "finer":
        other.SetSpacing((0.66, 1.04, 0.85))
    index = np.indices(other.GetSize()[::-1])[::-1].reshape(3, -1).T
    points = np.array([other.TransformIndexToPhysicalPoint([int(v) for v in i]) for i in index])
    centre = np.array(grid.TransformContinuousIndexToPhysicalPoint((19.5, 17.5, 19.5)))
    ball = (np.linalg.norm(points - centre, axis=1) < 9.0).reshape(other.GetSize()[::-1])
    image = sitk.GetImageFromArray(ball.astype(np.uint8))
    image.CopyInformation(other)
    found = LabelMap(image, {1: "liver"})
    with pytest.raises(AnatomyError, match=r"on another grid than the scan.*resampled"):
        found.matched_to(grid)
    exact = 4 / 3 * np.pi * 9.0**3 / 1000
    for way, words in (("nearest", "nearest voxel"), ("linear", "linear vote of the labels")):
        moved = found.matched_to(grid, resample=way)  # type: ignore[arg-type]
        assert moved.image.GetSize() == grid.GetSize()
        # The nearest voxel moves a surface by up to half a voxel; only the vote keeps the volume.
        if way == "linear":
            assert moved.volumes_ml["liver"] == pytest.approx(exact, rel=0.015)
        assert f"resampled to the scan's grid ({words})" in moved.warnings[0]
        assert len(moved.warnings) == 1
    assert np.array_equal(found.matched_to(grid, resample="nearest").array, by_simpleitk(found, grid))
    with pytest.raises(AnatomyError, match="by 'nearest' or 'linear', not by 'cubic'"):
        found.matched_to(grid, resample="cubic")  # type: ignore[arg-type]


def test_linear_vote_is_that_of_each_label_alone() -> None:
    grid = scan((12, 11, 9))
    coarse = labels(scan((6, 6, 5)), 3)
    coarse.image.SetSpacing((1.4, 2.1, 4.3))
    image = coarse.image
    found = LabelMap(image, NAMES).matched_to(grid, resample="linear").array
    weights = []
    for value in (0, 1, 2):
        share = sitk.Cast(image == value, sitk.sitkFloat64)
        outside = 1.0 if value == 0 else 0.0
        weights.append(
            sitk.GetArrayFromImage(sitk.Resample(share, grid, sitk.Transform(), sitk.sitkLinear, outside))
        )
    shares = np.array(weights)
    sure = np.sort(shares, axis=0)[-1] - np.sort(shares, axis=0)[-2] > 1e-6
    assert np.array_equal(found[sure], shares.argmax(axis=0)[sure])
    assert sure.mean() > 0.9
