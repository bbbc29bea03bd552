"""Real series against what another tool made of them, voxel for voxel in patient space; the table is kept."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.scan import Scan
from tests.anatomy.dicom_files import skewed_by_itk, write_slices
from tests.generated import check_section, markdown_table

#: Values agree when they differ by less: floating point's rounding of a rescale slope of 14.6 on 12 bits.
SAME = 1e-3


@dataclass(frozen=True)
class Case:
    """A series, the repair or choice it is read with, and its truth or the words of its refusal."""

    what: str
    path: str
    repair: str | None = None
    series: str | None = None
    truth: str | None = None
    refused: str | None = None


TRUTH = "dicom_cases/{0}/001_ground_truth.nii.gz"
CASES = [
    *(
        Case(what, f"dicom_cases/{name}/001", truth=TRUTH.format(name))
        for what, name in (
            ("JPEG 2000, MR", "generic_compressed_j2k"),
            ("JPEG lossless, MR", "generic_compressed_jpeg"),
            ("JPEG-LS, MR", "generic_compressed_jpegls"),
            ("run-length, MR", "generic_compressed_rle"),
            ("two slices, MR", "failing_slicecount"),
            ("enhanced, Philips MR, rescale of each frame", "philips_enhanced_anatomical"),
            ("enhanced, Siemens MR, no shared groups", "siemens_multiframe_anatomical"),
        )
    ),
    Case(
        "enhanced, Philips MR, implicit, oblique",
        "dicom_cases/philips_enhanced_anatomical/001_implicit",
        truth="dicom_cases/philips_enhanced_anatomical/001_implicit_ground_truth.nii.gz",
    ),
    Case("classic CT", "chest_ct/series", truth="chest_ct/ct.nrrd"),
    Case("JPEG 2000, contrast CT", "abdomen_ct_dicom/series"),
    Case("tilted gantry, CT", "dicom_cases/failing_gantrytilting/001", refused="sheared by 14.0°"),
    Case("tilted gantry, CT", "dicom_cases/failing_gantrytilting/001", repair="deskew"),
    Case("missing slice, CT", "dicom_cases/failing_sliceincrement/001", refused="not evenly spaced"),
    Case("missing slice, CT", "dicom_cases/failing_sliceincrement/001", repair="resample"),
    Case("two directions, MR", "dicom_cases/failing_sliceorientation/001", refused="different directions"),
    Case("two directions, MR", "dicom_cases/failing_sliceorientation/001", series="1.2"),
    Case("one place, CT", "dicom_cases/failing_notavolume/001", refused="all slices lie at one position"),
    Case("colour (RGB)", "dicom_cases/generic_rgb/001", refused="is a colour picture"),
]


def agreement(scan: Scan, truth: sitk.Image) -> tuple[float, float, float]:
    """Share of voxels inside the truth, largest difference, and share equal; each at its place in the patient.

    Every voxel of the scan is looked up in the truth by its place (nearest voxel), whatever order the truth is
    stored in, and the other way about, so that neither may have voxels the other lacks.
    """
    outside = -1e6
    scan_image = sitk.Cast(scan.image, sitk.sitkFloat64)
    truth = sitk.Cast(truth, sitk.sitkFloat64)
    shares, worst, equal = [], 0.0, []
    for a, b in ((truth, scan_image), (scan_image, truth)):
        found = sitk.GetArrayFromImage(
            sitk.Resample(a, b, sitk.Transform(), sitk.sitkNearestNeighbor, outside)
        )
        inside = found != outside
        apart = np.abs(found - sitk.GetArrayViewFromImage(b))[inside]
        shares.append(inside.mean())
        worst = max(worst, float(apart.max()))
        equal.append(float((apart <= SAME).mean()))
    return float(min(shares)), worst, min(equal)


def slices_seen(scan: Scan, folder: Path) -> tuple[float, float, float]:
    """The voxels of the source slices, decoded by ITK one by one, looked up in the scan at their places."""
    inside, worst, equal = [], 0.0, []
    for path in sorted(folder.rglob("*")):
        if not path.is_file():
            continue
        plane = sitk.ReadImage(str(path))
        if not np.allclose(plane.GetSpacing()[:2], scan.spacing_mm[:2]):
            continue
        kept = sitk.Resample(
            sitk.Cast(scan.image, sitk.sitkFloat64), plane, sitk.Transform(), sitk.sitkNearestNeighbor, -1e6
        )
        found, stored = sitk.GetArrayFromImage(kept), sitk.GetArrayFromImage(plane).astype(float)
        if scan.modality == "CT":
            stored = np.maximum(stored, -1024)
        seen = found != -1e6
        apart = np.abs(found - stored)[seen]
        inside.append(seen.mean())
        worst = max(worst, float(apart.max()))
        equal.append(float((apart <= SAME).mean()))
    return min(inside), worst, min(equal)


def stack_sheared(scan: Scan, folder: Path) -> tuple[float, float, float]:
    """The source slices, set upright by ITK's affine transform in three dimensions, beside the scan's voxels."""
    planes = [sitk.ReadImage(str(path)) for path in sorted(folder.iterdir())]
    planes.sort(key=lambda plane: plane.GetOrigin()[2])
    across, down = planes[0].GetSpacing()[:2]
    direction = np.array(planes[0].GetDirection()).reshape(3, 3)
    first, second = (np.array(plane.GetOrigin()) for plane in planes[:2])
    steps = np.column_stack([across * direction[:, 0], down * direction[:, 1], second - first])
    voxels = np.concatenate([sitk.GetArrayFromImage(plane) for plane in planes])
    theirs = skewed_by_itk(np.maximum(voxels, -1024), first, steps, scan.image, -1024.0)
    apart = np.abs(scan.array - theirs)
    return 1.0, float(apart.max()), float((apart <= SAME).mean())


def read_row(case: Case, root: Path) -> list[str]:
    how = f"`--repair {case.repair}`" if case.repair else f"`--series {case.series}`" if case.series else ""
    name = f"{case.what} (`{case.path}`)"
    if case.refused:
        with pytest.raises(AnatomyError) as error:
            Scan.read(root / case.path, repair=case.repair, series=case.series)
        assert case.refused in str(error.value)
        return [name, how, f"refused: “{case.refused}”", "", ""]
    scan = Scan.read(root / case.path, repair=case.repair, series=case.series)
    bound = SAME
    if case.truth:
        inside, worst, equal = agreement(scan, sitk.ReadImage(str(root / case.truth)))
        beside = "truth"
    elif case.repair == "deskew":
        inside, worst, equal = stack_sheared(scan, root / case.path)
        # Interpolated values are rounded to whole HU.
        beside, bound = "its slices, sheared by ITK", 0.5 + SAME
    else:
        inside, worst, equal = slices_seen(scan, root / case.path)
        beside = "its slices by ITK"
    assert inside == 1.0
    assert worst <= bound
    assert equal == 1.0 or case.repair == "deskew"
    columns, rows, slices = scan.image.GetSize()
    spacing = "×".join(f"{edge:.4g}" for edge in scan.spacing_mm)
    said = "; ".join(f"“{repair}”" for repair in scan.repairs)
    read = f"read: {columns}×{rows}×{slices} of {spacing} mm" + (f"; {said}" if said else "")
    return [name, how, read, beside, f"{100 * equal:.4g} %, at most {worst:.1g} apart"]


def test_every_case_against_its_truth(shared_scans: Path) -> None:
    rows: Sequence[Sequence[str]] = [read_row(case, shared_scans) for case in CASES]
    check_section(
        "conformance.md",
        "scans",
        markdown_table(["scan", "with", "what is done", "beside", "voxels equal, largest difference"], rows),
    )


def test_an_archive_reads_as_its_folder(shared_scans: Path, tmp_path: Path) -> None:
    folder = shared_scans / "dicom_cases" / "generic_compressed_jpegls"
    archive = shutil.make_archive(str(tmp_path / "study"), "zip", folder)
    scan, beside = Scan.read(archive), Scan.read(folder / "001")
    assert scan.source_sha256 == beside.source_sha256
    assert scan.direction == pytest.approx(beside.direction)
    assert scan.origin_mm == beside.origin_mm


def test_enhanced_file_reads_by_itself(shared_scans: Path) -> None:
    folder = shared_scans / "dicom_cases" / "siemens_multiframe_anatomical" / "001"
    (file,) = folder.iterdir()
    assert Scan.read(file).source_sha256 == Scan.read(folder).source_sha256


def test_a_truth_stored_in_another_order_agrees_too(shared_scans: Path) -> None:
    turned = 0
    for case in CASES:
        path = shared_scans / (case.truth or "").replace("ground_truth", "ground_truth_reoriented")
        if case.truth is None or not path.is_file() or path.suffix != ".gz":
            continue
        scan, truth = Scan.read(shared_scans / case.path), Scan.read(path)
        inside, worst, equal = agreement(scan, truth.image)
        assert (inside, equal) == (1.0, 1.0)
        assert worst <= SAME
        turned += not np.array_equal(np.round(scan.direction), np.round(truth.direction))
    assert turned >= 7


def test_a_real_ct_sliced_by_a_tilted_gantry_comes_back(shared_scans: Path, tmp_path: Path) -> None:
    """A real CT, cut anew into tilted slices and set upright, lies where it lay: not a voxel to either side."""
    source = sitk.ReadImage(str(shared_scans / "chest_ct" / "ct.nrrd"))
    angle = np.radians(20.0)
    axes = (1.0, 0.0, 0.0, 0.0, np.cos(angle), -np.sin(angle))
    direction = np.column_stack([axes[:3], axes[3:], np.cross(axes[:3], axes[3:])])
    across, down, gap = source.GetSpacing()
    planes, places = [], []
    for index in range(source.GetSize()[2]):
        place = np.array(source.TransformIndexToPhysicalPoint((0, 0, index)))
        plane = sitk.Resample(
            source, (64, 64, 1), sitk.Transform(), sitk.sitkLinear, place.tolist(), (across, down, gap),
            direction.ravel().tolist(), -1024,
        )  # fmt: skip
        planes.append(sitk.GetArrayFromImage(plane)[0])
        places.append(place)
    write_slices(tmp_path, np.array(planes), places, axes=axes, spacing=(down, across))
    scan = Scan.read(tmp_path, repair="deskew")
    assert scan.spacing_mm[2] == pytest.approx(gap * np.cos(angle))
    errors = {}
    for moved_mm in (-down, 0.0, down):
        beside = sitk.Resample(
            source, scan.image, sitk.TranslationTransform(3, (0.0, moved_mm, 0.0)), sitk.sitkLinear, -1024
        )
        errors[moved_mm] = float(np.abs(sitk.GetArrayViewFromImage(beside) - scan.array)[5:-5].mean())
    assert errors[0.0] < 0.5 * min(errors[-down], errors[down])
