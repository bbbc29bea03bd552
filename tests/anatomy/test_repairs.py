"""What is no regular volume is refused by name, and mended only by the repair that was asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from scipy import ndimage

from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from tests.anatomy.dicom_files import skewed_by_itk, upright, write_slice, write_slices

ROWS, COLUMNS = 9, 11


@pytest.fixture
def planes() -> np.ndarray:
    return np.random.default_rng(8).integers(-900, 1500, (8, ROWS, COLUMNS)).astype(np.int16)


def test_gaps_that_vary_by_more_than_a_hundredth_are_refused(tmp_path: Path, planes: np.ndarray) -> None:
    near = upright(8)
    near[4] = (near[4][0], near[4][1], near[4][2] + 0.02)  # gaps 0.8 % off
    write_slices(tmp_path / "near", planes, near)
    assert np.array_equal(Scan.read(tmp_path / "near").array, planes)
    far = upright(8)
    far[4] = (far[4][0], far[4][1], far[4][2] + 0.03)  # 1.2 %
    write_slices(tmp_path / "far", planes, far)
    with pytest.raises(AnatomyError, match=r"not evenly spaced.*--repair resample interpolates"):
        Scan.read(tmp_path / "far")


def test_a_missing_slice_is_interpolated_where_that_is_asked_for(tmp_path: Path, planes: np.ndarray) -> None:
    paths = write_slices(tmp_path / "gap", planes, upright(8))
    paths[3].unlink()
    with pytest.raises(AnatomyError, match=r"5 mm between s002\.dcm and s004\.dcm"):
        Scan.read(tmp_path / "gap")
    scan = Scan.read(tmp_path / "gap", repair="resample")
    middle = np.rint((planes[2].astype(float) + planes[4]) / 2)
    assert np.array_equal(np.delete(scan.array, 3, axis=0), np.delete(planes, 3, axis=0))
    assert np.array_equal(scan.array[3], middle)
    assert scan.spacing_mm == pytest.approx((0.8, 0.9, 2.5))
    (done,) = scan.repairs
    assert done.name == "resample"
    assert "1 of 8 slices interpolated" in done.what
    assert "widest gap is 5 mm, after slice 3 of 7" in done.what


def test_uneven_slices_give_what_a_linear_field_is_between_them(tmp_path: Path) -> None:
    heights = np.array([0.0, 2.0, 4.0, 5.5, 8.0, 10.0, 12.0])
    field = np.array([np.full((ROWS, COLUMNS), 10 * height) for height in heights]).astype(np.int16)
    write_slices(tmp_path / "uneven", field, [(1.0, 2.0, 3.0 + height) for height in heights])
    scan = Scan.read(tmp_path / "uneven", repair=["resample"])
    z = scan.spacing_mm[2] * np.arange(len(scan.array))
    assert scan.spacing_mm[2] == pytest.approx(2.0)
    assert np.abs(scan.array[:, 0, 0] - 10 * z).max() <= 0.5


def test_a_gap_too_wide_is_not_bridged(tmp_path: Path, planes: np.ndarray) -> None:
    for path in write_slices(tmp_path / "gap", planes, upright(8))[2:5]:
        path.unlink()
    with pytest.raises(
        AnatomyError, match=r"10 mm between s001\.dcm and s005\.dcm .* too wide to interpolate"
    ):
        Scan.read(tmp_path / "gap", repair="resample")
    thick = upright(8, gap=6.0)
    thick[5:] = [(x, y, z + 6.0) for x, y, z in thick[5:]]
    write_slices(tmp_path / "thick", planes, thick)
    with pytest.raises(AnatomyError, match=r"12 mm between .* too wide to interpolate"):
        Scan.read(tmp_path / "thick", repair="resample")


def tilted(count: int, degrees: float, gap: float = 3.0) -> tuple[list[np.ndarray], list[float]]:
    """Positions along the table and the axes of slices of a tilted gantry."""
    angle = np.radians(degrees)
    axes = [1.0, 0.0, 0.0, 0.0, float(np.cos(angle)), float(-np.sin(angle))]
    return [np.array([-20.0, -30.0, 40.0 + gap * index]) for index in range(count)], axes


def field_at(points: np.ndarray) -> np.ndarray:
    """A linear field in patient space, which linear interpolation keeps."""
    return points @ np.array([1.5, -2.0, 3.0]) + 100.0


def slice_points(position: np.ndarray, axes: list[float]) -> np.ndarray:
    row, column = np.array(axes[:3]), np.array(axes[3:])
    i, j = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    return position + 0.8 * i[..., None] * row + 0.9 * j[..., None] * column


@pytest.mark.parametrize("degrees", [14.0, -25.0])
def test_a_tilted_gantry_is_set_upright_in_patient_space(tmp_path: Path, degrees: float) -> None:
    positions, axes = tilted(7, degrees)
    planes = np.array([field_at(slice_points(p, axes)) for p in positions])
    write_slices(tmp_path / "tilt", np.rint(planes).astype(np.int16), positions, axes=axes)
    with pytest.raises(AnatomyError, match=rf"sheared by {abs(degrees):.1f}° .*--repair deskew"):
        Scan.read(tmp_path / "tilt")
    with pytest.raises(AnatomyError, match=r"--repair deskew .*\(resample does not mend this\)"):
        Scan.read(tmp_path / "tilt", repair="resample")
    scan = Scan.read(tmp_path / "tilt", repair="deskew")
    assert scan.direction.T @ scan.direction == pytest.approx(np.eye(3), abs=1e-12)
    seen = scan.array != -1024
    # The slices lose no more than a line of voxels at a moved edge.
    assert seen.sum() >= 7 * COLUMNS * (ROWS - 1)
    # Within the slices: over half a voxel at their edge the edge's value is held.
    inside = ndimage.binary_erosion(seen, np.ones((1, 3, 1)))
    places = np.array(
        [scan.image.TransformIndexToPhysicalPoint([int(n) for n in ijk[::-1]]) for ijk in np.argwhere(inside)]
    )
    # Stored and interpolated numbers are rounded once each.
    assert np.abs(scan.array[inside] - field_at(places)).max() <= 1.0 + 1e-6
    assert [repair.name for repair in scan.repairs] == ["deskew"]
    assert f"({abs(degrees):.1f}°)" in scan.repairs[0].what


def test_tilt_and_a_missing_slice_are_named_and_mended_together(tmp_path: Path) -> None:
    positions, axes = tilted(8, 12.0)
    planes = np.array([field_at(slice_points(p, axes)) for p in positions])
    write_slices(tmp_path / "both", np.rint(planes).astype(np.int16), positions, axes=axes)[4].unlink()
    with pytest.raises(AnatomyError, match=r"sheared by 12.0° .*; and the slices are not evenly spaced"):
        Scan.read(tmp_path / "both")
    scan = Scan.read(tmp_path / "both", repair="resample,deskew")
    assert [repair.name for repair in scan.repairs] == ["deskew", "resample"]
    # Away from the edges, where air is interpolated with.
    places = np.array([scan.image.TransformIndexToPhysicalPoint((5, 6, k)) for k in range(8)])
    assert np.abs(scan.array[:, 6, 5] - field_at(places)).max() <= 1.5


def test_copies_are_dropped_and_phases_are_not(tmp_path: Path, planes: np.ndarray) -> None:
    paths = write_slices(tmp_path / "copy", planes, upright(8))
    (tmp_path / "copy" / "again.dcm").write_bytes(paths[2].read_bytes())
    with pytest.raises(AnatomyError, match=r"two slices lie at one position .*--repair drop keeps the one"):
        Scan.read(tmp_path / "copy")
    scan = Scan.read(tmp_path / "copy", repair="drop")
    assert np.array_equal(scan.array, planes)
    assert [str(repair) for repair in scan.repairs] == ["drop: 1 slice at the place of another"]
    write_slices(tmp_path / "phases", planes, upright(8))
    write_slices(tmp_path / "phases", planes // 2, upright(8), prefix="t")
    with pytest.raises(AnatomyError, match=r"8 of the 8 slices .* several phases, and drop would mix them"):
        Scan.read(tmp_path / "phases", repair="drop")


def test_a_slice_scanned_twice_keeps_the_first(tmp_path: Path, planes: np.ndarray) -> None:
    write_slices(tmp_path, planes, upright(8))
    write_slice(tmp_path / "a-again.dcm", planes[5] + 7, upright(8)[5], InstanceNumber=99)
    scan = Scan.read(tmp_path, repair="drop")
    assert np.array_equal(scan.array, planes)
    assert "1 of them with another picture" in scan.repairs[0].what


def test_localisers_are_named_and_left_out_where_that_is_asked_for(
    tmp_path: Path, planes: np.ndarray
) -> None:
    write_slices(tmp_path / "ct", planes, upright(8))
    scout = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    write_slices(
        tmp_path / "scout", planes[:2], upright(2), ImageType=scout, SeriesInstanceUID="1.2.5", SeriesNumber=1
    )
    with pytest.raises(AnatomyError, match=r"2 localiser pictures.*--series 1 picks.*--repair drop leaves"):
        Scan.read(tmp_path)
    assert np.array_equal(Scan.read(tmp_path, repair="drop").array, planes)
    picked = Scan.read(tmp_path, series=1)
    assert np.array_equal(picked.array, planes)
    assert picked.repairs == ()
    with pytest.raises(AnatomyError, match=r"localisers alone \(2 of 2 pictures\) and no volume"):
        Scan.read(tmp_path / "scout")


def test_a_localiser_among_the_slices_of_a_series(tmp_path: Path, planes: np.ndarray) -> None:
    write_slices(tmp_path, planes, upright(8))
    side = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    write_slice(
        tmp_path / "scout.dcm", planes[0], (0, 0, 0), side, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]
    )
    with pytest.raises(AnatomyError, match=r"holds localisers among its slices .*--repair drop keeps 1.1"):
        Scan.read(tmp_path)
    scan = Scan.read(tmp_path, repair="drop")
    assert np.array_equal(scan.array, planes)
    assert scan.repairs[0].what.startswith("1 of 9 slices")
    assert np.array_equal(Scan.read(tmp_path, series="1.1").array, planes)


def test_odd_directions_and_sizes_are_dropped_only_where_most_slices_agree(
    tmp_path: Path, planes: np.ndarray
) -> None:
    write_slices(tmp_path / "few", planes[:6], upright(6))
    side = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)
    write_slices(tmp_path / "few", planes[6:], [(0, 0, 0), (3, 0, 0)], prefix="side", axes=side)
    with pytest.raises(AnatomyError, match=r"different directions .*1\.1 \(6 slices.*1\.2 \(2 slices.*drop"):
        Scan.read(tmp_path / "few")
    assert np.array_equal(Scan.read(tmp_path / "few", repair="drop").array, planes[:6])
    assert len(Scan.read(tmp_path / "few", series="1.2").array) == 2
    with pytest.raises(AnatomyError, match=r"has no stack '1\.3'"):
        Scan.read(tmp_path / "few", series="1.3")
    write_slices(tmp_path / "half", planes[:4], upright(4))
    write_slices(tmp_path / "half", planes[4:], upright(4), prefix="small", spacing=(0.5, 0.5))
    with pytest.raises(AnatomyError, match=r"differ in size or spacing.*drop cannot tell which to keep"):
        Scan.read(tmp_path / "half", repair="drop")


def test_echoes_of_one_series_are_listed_and_chosen(tmp_path: Path, planes: np.ndarray) -> None:
    write_slices(tmp_path, planes[:4], upright(4), EchoTime=2.3)
    write_slices(tmp_path, planes[4:], upright(4), prefix="t", EchoTime=4.6)
    with pytest.raises(AnatomyError, match=r"2 stacks .*1\.1 \(4 slices, echo time ms 2\.3\), 1\.2"):
        Scan.read(tmp_path)
    assert np.array_equal(Scan.read(tmp_path, series="1.2").array, planes[4:])


def test_a_repair_with_nothing_to_mend_is_refused(tmp_path: Path, planes: np.ndarray) -> None:
    write_slices(tmp_path / "good", planes, upright(8))
    for name in ("drop", "deskew", "resample"):
        with pytest.raises(AnatomyError, match=f"good has nothing to {name}: leave out --repair {name}"):
            Scan.read(tmp_path / "good", repair=name)
    with pytest.raises(AnatomyError, match="no repair 'fix': choose from drop, deskew, resample"):
        Scan.read(tmp_path / "good", repair="fix")
    scan = Scan.read(tmp_path / "good")
    scan.write(tmp_path / "good.nrrd")
    with pytest.raises(AnatomyError, match=r"good\.nrrd has nothing to resample"):
        Scan.read(tmp_path / "good.nrrd", repair="resample")


def test_repairs_are_kept_in_the_file(tmp_path: Path, planes: np.ndarray) -> None:
    write_slices(tmp_path / "gap", planes, upright(8))[3].unlink()
    scan = Scan.read(tmp_path / "gap", repair="resample")
    scan.write(tmp_path / "scan.nrrd")
    again = Scan.read(tmp_path / "scan.nrrd")
    assert again.facts == scan.facts
    assert again.repairs == scan.repairs
    assert again.source_sha256 == scan.source_sha256


def test_colour_and_slices_without_a_place_are_refused(tmp_path: Path, planes: np.ndarray) -> None:
    for path in write_slices(tmp_path / "palette", planes, upright(8)):
        data = pydicom.dcmread(path)
        data.PhotometricInterpretation = "PALETTE COLOR"
        data.save_as(path)
    with pytest.raises(AnatomyError, match="is a colour picture"):
        Scan.read(tmp_path / "palette")
    path = write_slices(tmp_path / "lost", planes, upright(8))[3]
    data = pydicom.dcmread(path)
    del data.ImagePositionPatient
    data.save_as(path)
    with pytest.raises(AnatomyError, match=r"s003\.dcm does not say where its slice lies \(no ImagePosition"):
        Scan.read(tmp_path / "lost")


def test_deskew_beside_a_resampling_by_another_library(tmp_path: Path) -> None:
    """The shear of `deskew` against SimpleITK's own affine transform of the skewed stack."""
    positions, axes = tilted(6, 18.0)
    voxels = np.random.default_rng(3).integers(-500, 500, (6, ROWS, COLUMNS)).astype(np.int16)
    write_slices(tmp_path, voxels, positions, axes=axes)
    scan = Scan.read(tmp_path, repair="deskew")
    row, column = np.array(axes[:3]), np.array(axes[3:])
    steps = np.column_stack([0.8 * row, 0.9 * column, positions[1] - positions[0]])
    theirs = skewed_by_itk(voxels, positions[0], steps, scan.image, -1024.0)
    both = (scan.array != -1024) & (theirs != -1024.0)
    assert both.sum() >= 6 * COLUMNS * (ROWS - 1)
    assert np.abs(scan.array - theirs)[both].max() <= 0.5 + 1e-3


def test_slices_far_aside_are_not_moved(tmp_path: Path, planes: np.ndarray) -> None:
    places = [(x + 40.0 * index, y, z) for index, (x, y, z) in enumerate(upright(8))]
    write_slices(tmp_path, planes, places)
    with pytest.raises(AnatomyError, match=r"lie up to 280 mm aside of each other and are 9 mm wide"):
        Scan.read(tmp_path, repair="deskew")


def test_the_choice_is_kept_by_its_number(tmp_path: Path, planes: np.ndarray) -> None:
    write_slices(tmp_path / "a", planes[:4], upright(4))
    write_slices(tmp_path / "b", planes[4:], upright(4), SeriesInstanceUID="1.2.840.77", SeriesNumber=9)
    scan = Scan.read(tmp_path, series="1.2.840.77")
    assert np.array_equal(scan.array, planes[4:])
    assert scan.facts.series == "2"
    scan.write(tmp_path / "scan.nrrd")
    assert Scan.read(tmp_path / "scan.nrrd").facts == scan.facts
    assert b"1.2.840.77" not in (tmp_path / "scan.nrrd").read_bytes()
