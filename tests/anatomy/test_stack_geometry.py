"""Property: whatever the direction, order and spacing of its slices, a stack is read back where it lay."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from tests.anatomy.dicom_files import write_slices

GAP = st.floats(0.4, 9.0)
EDGE = st.floats(0.3, 3.0)
SEED = st.integers(0, 2**32 - 1)


def drawn(
    seed: int, count: int, gap: float, across: float, down: float
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Random voxels on a randomly turned and moved stack: voxels (n, rows, columns), positions, header tags."""
    random = np.random.default_rng(seed)
    turn = Rotation.random(rng=random).as_matrix()
    voxels = random.integers(-1000, 3000, (count, *random.integers(3, 9, 2))).astype(np.int16)
    # A header holds sixteen characters a number.
    positions = np.round(random.uniform(-300, 300, 3) + gap * np.arange(count)[:, None] * turn[2], 8)
    axes = np.round(turn[:2].ravel(), 10)
    return voxels, positions, {"axes": axes, "spacing": (round(down, 6), round(across, 6))}


def expected_at(voxels: np.ndarray, positions: np.ndarray, tags: dict, index: np.ndarray) -> np.ndarray:
    """Places (LPS mm) of voxels (slice, row, column)."""
    row, column = np.array(tags["axes"]).reshape(2, 3)
    down, across = tags["spacing"]
    return positions[index[:, 0]] + across * index[:, 2:] * row + down * index[:, 1:2] * column


@settings(max_examples=40, deadline=None)
@given(seed=SEED, count=st.integers(2, 7), gap=GAP, across=EDGE, down=EDGE)
def test_a_stack_is_read_back_where_it_lay(
    seed: int, count: int, gap: float, across: float, down: float
) -> None:
    voxels, positions, tags = drawn(seed, count, gap, across, down)
    order = np.random.default_rng(seed + 1).permutation(count)
    with tempfile.TemporaryDirectory() as folder:
        write_slices(Path(folder), voxels[order], positions[order], **tags)
        scan = Scan.read(folder)
    assert scan.repairs == ()
    index = np.argwhere(np.ones(voxels.shape, bool))
    places = expected_at(voxels, positions, tags, index)
    back = np.array([scan.image.TransformPhysicalPointToContinuousIndex(place) for place in places])
    whole = np.rint(back).astype(int)
    assert np.abs(back - whole).max() < 1e-3
    assert np.array_equal(scan.array[whole[:, 2], whole[:, 1], whole[:, 0]], voxels[tuple(index.T)])
    assert np.linalg.det(scan.direction) == pytest.approx(1.0)


@settings(max_examples=25, deadline=None)
@given(
    seed=SEED,
    # As wide as they are here for their distance, slices lie over each other; those that do not are refused.
    gap=st.floats(0.4, 5.0),
    across=st.floats(0.8, 3.0),
    down=st.floats(0.8, 3.0),
    tilt=st.floats(3.0, 30.0),
    way=st.floats(0.0, 2 * np.pi),
)
def test_skewed_slices_are_refused_and_set_upright(
    seed: int, gap: float, across: float, down: float, tilt: float, way: float
) -> None:
    voxels, positions, tags = drawn(seed, 5, gap, across, down)
    row, column = np.array(tags["axes"]).reshape(2, 3)
    aside = gap * np.tan(np.radians(tilt)) * (np.cos(way) * row + np.sin(way) * column)
    positions = np.round(positions + np.arange(5)[:, None] * aside, 8)
    with tempfile.TemporaryDirectory() as folder:
        write_slices(Path(folder), voxels, positions, **tags)
        if 4 * np.linalg.norm(aside) < min(across, down):
            return
        with pytest.raises(AnatomyError, match=r"--repair deskew"):
            Scan.read(folder)
        scan = Scan.read(folder, repair="deskew")
    # Each slice stays in its plane, and its voxels are found at their true places, by ITK's own interpolation
    # where the shift is a part of a voxel.
    known = sitk.Cast(scan.image, sitk.sitkFloat64)
    index = np.argwhere(np.ones(voxels.shape, bool))
    places = expected_at(voxels, positions, tags, index)
    back = np.array([known.TransformPhysicalPointToContinuousIndex(place) for place in places])
    assert np.abs(back[:, 2] - index[:, 0]).max() < 1e-3
    low, high = back.min(axis=0), back.max(axis=0)
    assert (low > -1e-3).all()
    assert (high < np.array(scan.image.GetSize()) - 1 + 1e-3).all()
    first = index[:, 0] == 0
    whole = np.rint(back[first]).astype(int)
    assert np.abs(back[first] - whole).max() < 1e-3
    assert np.array_equal(scan.array[whole[:, 2], whole[:, 1], whole[:, 0]], voxels[0].ravel())


@settings(max_examples=25, deadline=None)
@given(seed=SEED, count=st.integers(5, 8), gap=st.floats(0.4, 4.9), lost=st.integers(1, 3))
def test_a_lost_slice_is_refused_and_interpolated(seed: int, count: int, gap: float, lost: int) -> None:
    voxels, positions, tags = drawn(seed, count, gap, 0.7, 0.9)
    with tempfile.TemporaryDirectory() as folder:
        write_slices(Path(folder), voxels, positions, **tags)[lost].unlink()
        with pytest.raises(AnatomyError, match=r"not evenly spaced: .*--repair resample"):
            Scan.read(folder)
        scan = Scan.read(folder, repair="resample")
    kept = [n for n in range(count) if n != lost]
    assert np.array_equal(scan.array[kept], voxels[kept])
    between = (voxels[lost - 1].astype(float) + voxels[lost + 1]) / 2
    assert np.abs(scan.array[lost] - between).max() <= 0.5 + 1e-3
    assert scan.spacing_mm[2] == pytest.approx(gap, rel=1e-5)
