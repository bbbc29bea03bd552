from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.polygons import inside
from tests.anatomy.structure_sets import FRAME, Region, circle, write_structure_set

UPRIGHT = np.eye(3)
TILT = np.array([[1, 0, 0], [0, np.cos(0.5), -np.sin(0.5)], [0, np.sin(0.5), np.cos(0.5)]])
TURN = np.array([[np.cos(0.3), -np.sin(0.3), 0], [np.sin(0.3), np.cos(0.3), 0], [0, 0, 1]])


def grid(direction: np.ndarray = UPRIGHT, size: tuple[int, int, int] = (70, 64, 40)) -> sitk.Image:
    image = sitk.Image(size, sitk.sitkInt16)
    image.SetSpacing((0.9, 1.0, 1.5))
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((-5.0, 12.0, -30.0))
    return image


def point(image: sitk.Image, index: np.ndarray) -> np.ndarray:
    """LPS mm of points given in mm along the image's own axes from its first voxel, shape (n, 3)."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return np.array(image.GetOrigin()) + index @ direction.T


def ball_contours(image: sitk.Image, radius: float, step: int = 1, shift: float = 0.0) -> list[np.ndarray]:
    """Circles of a ball in the middle of the image, one on every `step`-th slice, shifted by slices."""
    spacing = np.array(image.GetSpacing())
    centre = (np.array(image.GetSize()) - 1) / 2 * spacing
    found = []
    for k in range(0, image.GetSize()[2], step):
        z = (k + shift) * spacing[2]
        across = radius**2 - (z - centre[2]) ** 2
        if across > 0.5:
            flat = circle(np.sqrt(across)) + centre[:2]
            found.append(point(image, np.column_stack([flat, np.full(len(flat), z)])))
    return found


def ball(image: sitk.Image, radius: float) -> np.ndarray:
    """Voxels whose centre lies in the ball, shape (z, y, x)."""
    spacing = np.array(image.GetSpacing())
    axes = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(image.GetSize(), spacing, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    return (x**2 + y**2 + z**2 <= radius**2).transpose(2, 1, 0)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_pixels_are_those_whose_centre_lies_inside() -> None:
    rng = np.random.default_rng(3)
    star = circle(9.0, 60) * rng.uniform(0.4, 1.0, (60, 1)) + (12.3, 10.7)
    mask = inside([star], (22, 25))
    from matplotlib.path import Path as Outline

    columns, rows = np.meshgrid(np.arange(25), np.arange(22))
    expected = Outline(star).contains_points(np.column_stack([columns.ravel(), rows.ravel()]))
    assert np.array_equal(mask.ravel(), expected)
    assert mask.sum() > 50


def test_squares_side_by_side_share_no_pixel_and_leave_none_out() -> None:
    square = np.array([[2.0, 2.0], [5.0, 2.0], [5.0, 5.0], [2.0, 5.0]])
    left, right = inside([square], (8, 10)), inside([square + np.array([3.0, 0.0])], (8, 10))
    assert left.sum() == right.sum() == 9
    assert not (left & right).any()
    assert inside([square - 4.0], (8, 10)).sum() == 1


@pytest.mark.parametrize("direction", [np.eye(3), TILT @ TURN, np.diag([1.0, -1.0, -1.0])])
@pytest.mark.parametrize("keyhole", [False, True])
def test_ball_with_cavity(tmp_path: Path, direction: np.ndarray, keyhole: bool) -> None:
    scan = grid(direction)
    outer, inner = ball_contours(scan, 25.0), ball_contours(scan, 12.0)
    regions = [Region("Liver", [*outer, *inner], "CLOSEDPLANAR_XOR")]
    if keyhole:
        regions = [Region("Liver", keyholes(outer, inner, scan))]
    labels = LabelMap.read(write_structure_set(tmp_path / "rs.dcm", regions), scan=scan)
    truth = ball(scan, 25.0) & ~ball(scan, 12.0)
    assert labels.names == {1: "liver"}
    assert dice(labels.mask("liver"), truth) > 0.999
    exact = 4 / 3 * np.pi * (25.0**3 - 12.0**3) / 1000
    assert labels.volumes_ml["liver"] == pytest.approx(exact, rel=0.003)
    assert labels.warnings == []


def keyholes(outer: list[np.ndarray], inner: list[np.ndarray], scan: sitk.Image) -> list[np.ndarray]:
    """Each inner circle reached from its outer one by a channel without width."""
    normal = np.array(scan.GetDirection()).reshape(3, 3)[:, 2]
    found = []
    for a in outer:
        hole = next((b for b in inner if abs((b[0] - a[0]) @ normal) < 1e-3), None)
        if hole is None:
            found.append(a)
        else:
            found.append(np.concatenate([a, a[:1], hole[:1], hole[::-1]]))
    return found


@pytest.mark.parametrize(("step", "shift", "bound"), [(2, 0.0, 0.02), (1, 0.5, 0.02), (3, 0.3, 0.04)])
def test_contours_between_and_beyond_slices_are_interpolated(
    tmp_path: Path, step: int, shift: float, bound: float
) -> None:
    scan = grid()
    path = write_structure_set(tmp_path / "rs.dcm", [Region("liver", ball_contours(scan, 25.0, step, shift))])
    labels = LabelMap.read(path, scan=scan)
    assert labels.volumes_ml["liver"] == pytest.approx(4 / 3 * np.pi * 25.0**3 / 1000, rel=bound)
    assert dice(labels.mask("liver"), ball(scan, 25.0)) > 0.98


def test_planes_oblique_to_the_slices(tmp_path: Path) -> None:
    scan = grid()
    drawn_on = grid(TILT)
    middle = point(scan, (np.array(scan.GetSize()) - 1) / 2 * scan.GetSpacing())
    there = point(drawn_on, (np.array(drawn_on.GetSize()) - 1) / 2 * drawn_on.GetSpacing())
    contours = [c + (middle - there) for c in ball_contours(drawn_on, 20.0)]
    labels = LabelMap.read(write_structure_set(tmp_path / "rs.dcm", [Region("liver", contours)]), scan=scan)
    assert dice(labels.mask("liver"), ball(scan, 20.0)) > 0.98
    assert labels.volumes_ml["liver"] == pytest.approx(4 / 3 * np.pi * 20.0**3 / 1000, rel=0.01)
    assert "oblique to the scan's slices" in labels.warnings[0]


def test_contours_on_sagittal_planes_of_the_scan_are_exact(tmp_path: Path) -> None:
    scan = grid()
    turned = sitk.PermuteAxes(scan, [1, 2, 0])
    contours = ball_contours(turned, 20.0)
    labels = LabelMap.read(write_structure_set(tmp_path / "rs.dcm", [Region("liver", contours)]), scan=scan)
    assert dice(labels.mask("liver"), ball(scan, 20.0)) > 0.999
    assert labels.warnings == []


def test_several_regions_names_codes_and_overlap(tmp_path: Path) -> None:
    scan = grid()
    regions = [
        Region("BODY", ball_contours(scan, 30.0), number=3),
        Region("GTV_1", ball_contours(scan, 10.0), number=7),
        Region("Milz", ball_contours(scan, 6.0), code=("78961009", "SCT"), number=9),
        Region("Marker", [point(scan, np.array([[1.0, 2.0, 3.0]]))], "POINT", number=11),
    ]
    path = write_structure_set(tmp_path / "rs.dcm", regions)
    with pytest.raises(
        AnatomyError, match=r"overlap \('body' and 'GTV_1' share .* say which wins with priority"
    ):
        LabelMap.read(path, scan=scan)
    labels = LabelMap.read(path, scan=scan, priority=["spleen", "GTV_1", "body"])
    assert labels.names == {3: "body", 7: "GTV_1", 9: "spleen"}
    assert np.array_equal(labels.mask("spleen"), ball(scan, 6.0))
    assert np.array_equal(labels.mask("GTV_1"), ball(scan, 10.0) & ~ball(scan, 6.0))
    assert labels.warnings == ["left out, for they have no closed contour: Marker"]
    one = LabelMap.read(path, {"7": "liver_tumour"}, scan=scan)
    assert one.names == {7: "liver_tumour"}
    assert LabelMap.read(path, scan=scan, only=["body"]).names == {3: "body"}


def test_a_gap_stays_a_gap_and_is_said(tmp_path: Path) -> None:
    scan = grid()
    contours = ball_contours(scan, 25.0)
    path = write_structure_set(tmp_path / "rs.dcm", [Region("liver", contours[:10] + contours[14:])])
    labels = LabelMap.read(path, scan=scan)
    filled = labels.mask("liver").any(axis=(1, 2))
    assert filled.sum() == len(contours) - 4
    assert "interrupted 1 time along its slices" in labels.warnings[0]


def test_contours_that_are_there_twice_or_cross_are_said(tmp_path: Path) -> None:
    scan = grid()
    contours = ball_contours(scan, 20.0)
    double = write_structure_set(tmp_path / "a.dcm", [Region("liver", [*contours, contours[3], contours[4]])])
    labels = LabelMap.read(double, scan=scan)
    assert np.array_equal(labels.mask("liver"), ball(scan, 20.0))
    assert labels.warnings == ["'liver' has 2 contours twice; each was taken once"]
    beside = [contours[9] + np.array([12.0, 0.0, 0.0])]
    crossing = write_structure_set(tmp_path / "b.dcm", [Region("liver", [*contours, *beside])])
    assert "contours of 'liver' cross each other in 1 plane" in LabelMap.read(crossing, scan=scan).warnings[0]


def test_a_contours_offset_moves_its_slab(tmp_path: Path) -> None:
    scan = grid()
    path = write_structure_set(tmp_path / "rs.dcm", [Region("liver", ball_contours(scan, 20.0))])
    data = pydicom.dcmread(path)
    for contour in data.ROIContourSequence[0].ContourSequence:
        contour.ContourOffsetVector = [0.0, 0.0, 3.0]
    data.save_as(path)
    moved = LabelMap.read(path, scan=scan).mask("liver")
    assert np.array_equal(moved[2:], ball(scan, 20.0)[:-2])


def test_bad_structure_sets_get_one_sentence(tmp_path: Path) -> None:
    scan = grid()
    contours = ball_contours(scan, 20.0)
    path = write_structure_set(tmp_path / "rs.dcm", [Region("liver", contours)])
    with pytest.raises(AnatomyError, match="give the scan they were drawn on"):
        LabelMap.read(path)
    far = [c + np.array([0, 0, 900.0]) for c in contours]
    with pytest.raises(AnatomyError, match=r"no contour of .* lies in the scan"):
        LabelMap.read(write_structure_set(tmp_path / "far.dcm", [Region("liver", far)]), scan=scan)
    points = [Region("Marker", [contours[0][:1]], "POINT")]
    with pytest.raises(AnatomyError, match="holds no closed contour"):
        LabelMap.read(write_structure_set(tmp_path / "points.dcm", points), scan=scan)
    bent = [c + 3.0 * np.sin(c[:, :1]) * np.array([0, 0, 1]) for c in contours]
    with pytest.raises(AnatomyError, match="lie in planes of different directions or in none"):
        LabelMap.read(write_structure_set(tmp_path / "bent.dcm", [Region("liver", bent)]), scan=scan)
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(AnatomyError, match=r"cut\.dcm .*(damaged|no closed contour)"):
        LabelMap.read(tmp_path / "cut.dcm", scan=scan)


@pytest.mark.parametrize("seed", range(24))
def test_damage_anywhere_is_one_sentence_or_still_labels(tmp_path: Path, seed: int) -> None:
    rng, scan = np.random.default_rng(seed), grid()
    path = write_structure_set(tmp_path / "rs.dcm", [Region("liver", ball_contours(scan, 8.0))])
    raw = bytearray(path.read_bytes())
    for _ in range(1 + 6 * (seed % 3)):
        raw[rng.integers(132, min(len(raw), 3000))] = rng.integers(0, 256)
    path.write_bytes(raw)
    with suppress(AnatomyError):
        assert LabelMap.read(path, scan=scan).structures
        return
    with pytest.raises(AnatomyError, match=r"^[^\n]*rs\.dcm[^\n]*$"):
        LabelMap.read(path, scan=scan)


def test_contours_of_another_frame_of_reference(tmp_path: Path, write_series: object) -> None:
    series = tmp_path / "series"
    write_series(series, np.zeros((40, 64, 70), int), FrameOfReferenceUID="1.2.9")  # type: ignore[operator]
    scan = grid()
    path = write_structure_set(tmp_path / "rs.dcm", [Region("liver", ball_contours(scan, 20.0))])
    with pytest.raises(
        AnatomyError, match=rf"another frame of reference .* \({FRAME}; the scan's is 1\.2\.9\)"
    ):
        LabelMap.read(path, scan=scan, source=series)
    assert LabelMap.read(path, scan=scan, source=series, any_frame=True).structures == ["liver"]
