"""Every label object in ../shared/scans, read and compared in patient space: the table of docs/conformance.md."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.scan import Scan
from tests.anatomy.structure_sets import Region, write_structure_set
from tests.generated import check_section, markdown_table

HEAD = ("object", "what is done", "truth", "labelled voxels", "agree", "Dice")
REFUSED = ("object", "refused with")


def compared(labels: LabelMap, truth: sitk.Image, values: dict[str, int]) -> tuple[int, float, float]:
    """Labelled voxels, share of all voxels that agree, and the lowest Dice, on the truth's own grid.

    SimpleITK resamples the labels to the truth by nearest neighbour: neither our own geometry nor array order
    has a part in it.
    """
    moved = sitk.GetArrayFromImage(
        sitk.Resample(labels.image, truth, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    )
    wanted = sitk.GetArrayFromImage(truth)
    agree = np.ones(wanted.shape, bool)
    dice = []
    for name, value in values.items():
        ours, theirs = moved == labels.value(name), wanted == value
        agree &= ours == theirs
        dice.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    return int((labels.array > 0).sum()), float(agree.mean()), float(min(dice))


def row(what: str, done: str, truth: str, found: tuple[int, float, float]) -> list[str]:
    voxels, agree, dice = found
    assert agree == 1.0, what
    assert dice == 1.0, what
    return [what, done, truth, f"{voxels:,}", f"{agree:.1%}", f"{dice:.4f}"]


def refusal(what: str, read: Callable[[], object], folder: Path) -> list[str]:
    """The words something is refused with, without the folder of this machine."""
    with pytest.raises(AnatomyError) as caught:
        read()
    text = str(caught.value)
    assert "\n" not in text
    return [what, text.replace(f"{folder}/", "").replace("|", "\\|")]


def image(path: Path) -> sitk.Image:
    return sitk.ReadImage(str(path))


def segmentations(folder: Path) -> list[list[str]]:
    """DICOM-SEG against the NRRD that dcmqi made of the same labels."""
    rows = []
    for name, nrrd in (
        ("liver.dcm", "liver_seg.nrrd"),
        ("23x38x3/seg/label.seg", "23x38x3/nrrd/label.nrrd"),
        ("24x38x3/seg/label.seg", "24x38x3/nrrd/label.nrrd"),
    ):
        labels = LabelMap.read(folder / name)
        assert labels.names == {1: "liver"}
        found = compared(labels, image(folder / nrrd), {"liver": 1})
        rows.append(row(name, "BINARY, coded T-62000 (SRT), read as liver", nrrd, found))
    for name, nrrd, note in (
        ("sparse-labelmap-noppv.dcm", "sparse_labelmap_noppv_seg.nrrd", ""),
        (
            "sparse-labelmap-ppv5.dcm",
            "sparse_labelmap_ppv5_seg.nrrd",
            " (the truth fills it with padding value 5)",
        ),
    ):
        labels = LabelMap.read(folder / name)
        done = f"LABELMAP; the slice that is not stored is background{note}"
        rows.append(row(name, done, nrrd, compared(labels, image(folder / nrrd), {"liver": 1})))
    return rows


def overlapping(folder: Path) -> list[list[str]]:
    """Five segments that overlap: one at a time, and all by a stated priority."""
    path = folder / "partial_overlaps.dcm"
    truths = {n: image(folder / f"partial_overlaps-{n}.nrrd") for n in (1, 2, 3)}
    where = {"GREEN": (1, 1), "ORANGE": (2, 2), "PURPLE": (3, 3), "LIGHT_BLUE": (1, 4), "DARK_BLUE": (1, 5)}
    rows = []
    for name, (file, value) in where.items():
        labels = LabelMap.read(path, only=[name])
        found = compared(labels, truths[file], {name: value})
        rows.append(
            row(f"partial_overlaps.dcm: {name}", "read alone", f"partial_overlaps-{file}.nrrd", found)
        )
    order = ["PURPLE", "ORANGE", "DARK_BLUE", "LIGHT_BLUE", "GREEN"]
    first = sitk.GetArrayFromImage(truths[1]) * 0
    for name in reversed(order):
        file, value = where[name]
        first[sitk.GetArrayFromImage(truths[file]) == value] = value
    expected = sitk.GetImageFromArray(first)
    expected.CopyInformation(truths[1])
    labels = LabelMap.read(path, priority=order)
    found = compared(labels, expected, {name: value for name, (_, value) in where.items()})
    done = f"all five, by priority {', '.join(order)}"
    rows.append(row("partial_overlaps.dcm", done, "the three NRRD laid over each other", found))
    return rows


def highdicoms(folder: Path) -> list[list[str]]:
    """highdicom's own test objects against highdicom's own volume of them."""
    rows = []
    for name, done in (
        ("seg_image_ct_binary.dcm", "BINARY, coded 272673000, read as bone"),
        ("seg_image_ct_binary_single_frame.dcm", "BINARY, one slice"),
        ("seg_image_ct_binary_fractional.dcm", "FRACTIONAL of 0 and 1"),
        ("seg_image_ct_true_fractional.dcm", "FRACTIONAL, cut at a share of 0.5"),
    ):
        labels = LabelMap.read(folder / name)
        truth = volume(folder / name, 1, 0.5)
        found = compared(labels, truth, {"bone": 1})
        rows.append(row(f"highdicom/{name}", done, "highdicom's volume", found))
    name = "seg_image_ct_binary_overlap.dcm"
    for number, structure in ((1, "bone"), (2, "second segment")):
        labels = LabelMap.read(folder / name, only=[structure])
        found = compared(labels, volume(folder / name, number, 0.5), {structure: 1})
        done = "read alone; 8 frames over 165 slices, the others were left out empty"
        rows.append(row(f"highdicom/{name}: {structure}", done, "highdicom's volume", found))
    return rows


def volume(path: Path, number: int, threshold: float) -> sitk.Image:
    """One segment as highdicom places it."""
    found = highdicom.seg.segread(path).get_volume(segment_numbers=[number])
    made = sitk.GetImageFromArray((found.array[..., 0] >= threshold).astype(np.uint8))
    steps = found.affine[:3, 2::-1]
    made.SetSpacing(np.linalg.norm(steps, axis=0).tolist())
    made.SetDirection((steps / np.linalg.norm(steps, axis=0)).ravel().tolist())
    made.SetOrigin(found.affine[:3, 3].tolist())
    return made


def images(scans: Path, apart: Path) -> list[list[str]]:
    """Label images by the names in their header, in a class table or given, as they are stored and on the scan."""
    rows = []
    for name, table, done in (
        ("abdomen_ct/labels_v2.nii.gz", None, "names from the table TotalSegmentator embeds"),
        ("abdomen_ct/labels_v2.nii.gz", "totalsegmentator_v2", "names by class table totalsegmentator_v2"),
        (
            "abdomen_ct/labels_v1.nii.gz",
            "totalsegmentator_v1",
            "stored as float64; class table totalsegmentator_v1",
        ),
        ("abdomen_mr/labels_mr.nii.gz", "totalsegmentator_mr", "names by class table totalsegmentator_mr"),
    ):
        path = scans / name
        beside = {
            v: int(k) for k, v in json.loads(path.with_name(f"{path.name[:-7]}.json").read_text()).items()
        }
        labels = LabelMap.read(path, table) if table else LabelMap.read(shutil.copy(path, apart))
        assert labels.structures == list(beside)
        found = compared(labels, image(path), beside)
        rows.append(row(name, done, f"the file's {len(beside)} values and the JSON beside it", found))
    name = "abdomen_ct_dicom/labels_v2.nii.gz"
    scan = Scan.read(scans / "abdomen_ct_dicom" / "series")
    labels = LabelMap.read(scans / name, scan=scan)
    values = {n: v for v, n in labels.names.items()}
    stored = image(scans / name)
    assert not np.array_equal(sitk.GetArrayFromImage(stored), labels.array)
    found = compared(labels, stored, values)
    rows.append(
        row(name, "stored flipped in y; copied onto the series by geometry", "the file itself", found)
    )
    for name, given in (
        ("spine_ct/sub-ct_seg-vert_label-22_msk.nii.gz", {22: "L3"}),
        ("spine_mr/sub-mri_seg-vert_label-6_msk.nii.gz", {6: "vertebra 6"}),
    ):
        labels = LabelMap.read(scans / name, given)
        found = compared(labels, image(scans / name), {n: v for v, n in labels.names.items()})
        rows.append(row(name, "names given", "the file itself", found))
    return rows


def written(scans: Path, apart: Path) -> list[list[str]]:
    """Label maps written as DICOM-SEG on their series and read again."""
    rows = []
    folder = scans / "dicom_seg"
    liver = LabelMap.read(folder / "liver_spine_seg.nrrd", {1: "liver", 2: "vertebrae"})
    gapped = LabelMap.read(folder / "liver_spine_gapped_seg.nrrd", {1: "liver", 5: "vertebrae"})
    alone = LabelMap.read(folder / "liver_seg.nrrd", {1: "liver"})
    spine2 = LabelMap.read(folder / "spine_seg.nrrd", {2: "vertebrae"})
    heart = LabelMap.read(folder / "heart_seg.nrrd", {3: "heart"})
    spine = LabelMap.read(folder / "spine_seg_label5.nrrd", {5: "vertebrae"})
    for name, labels in (
        ("liver_spine_seg.nrrd", liver),
        ("liver_spine_gapped_seg.nrrd", gapped),
        ("liver_seg.nrrd", alone),
        ("spine_seg.nrrd", spine2),
        ("heart_seg.nrrd", heart),
        ("spine_seg_label5.nrrd", spine),
    ):
        rows += both_kinds(name, labels, folder / "ct-3slice", apart, image(folder / name))
    for size in ("23x38x3", "24x38x3"):
        labels = LabelMap.read(folder / size / "nrrd" / "label.nrrd", {1: "liver"})
        truth = image(folder / size / "nrrd" / "label.nrrd")
        for source in ("image", "multiframe"):
            rows += both_kinds(
                f"{size}/nrrd/label.nrrd on {source}", labels, folder / size / source, apart, truth
            )
    return rows


def both_kinds(what: str, labels: LabelMap, source: Path, apart: Path, truth: sitk.Image) -> list[list[str]]:
    rows = []
    values = {name: value for value, name in labels.names.items()}
    for kind in ("BINARY", "LABELMAP"):
        path = apart / f"{kind}.dcm"
        labels.write(path, source, kind=kind)
        again = LabelMap.read(path, source=source)
        done = f"written as {kind} DICOM-SEG with its series, read again"
        rows.append(row(what, done, "the NRRD itself", compared(again, truth, values)))
    return rows


def contours(apart: Path) -> list[list[str]]:
    """RTSTRUCT of analytic shapes: volumes against the formula, voxels against their centres."""
    from tests.anatomy.test_rtstruct import TILT, TURN, UPRIGHT, ball, ball_contours, dice, grid, keyholes

    rows = []
    exact = 4 / 3 * np.pi * (25.0**3 - 12.0**3) / 1000
    for direction, how in ((UPRIGHT, "upright"), (TILT @ TURN, "oblique")):
        scan = grid(direction)
        outer, inner = ball_contours(scan, 25.0), ball_contours(scan, 12.0)
        truth = ball(scan, 25.0) & ~ball(scan, 12.0)
        for region, words in (
            (Region("liver", [*outer, *inner], "CLOSEDPLANAR_XOR"), "exclusive or"),
            (Region("liver", keyholes(outer, inner, scan)), "keyhole"),
        ):
            labels = LabelMap.read(write_structure_set(apart / "rs.dcm", [region]), scan=scan)
            mask, volume_ml = labels.mask("liver"), labels.volumes_ml["liver"]
            assert dice(mask, truth) > 0.9995
            assert volume_ml == pytest.approx(exact, rel=0.003)
            rows.append(
                [
                    f"RTSTRUCT: ball of 25 mm with a cavity of 12 mm, {how} scan, {words}",
                    f"contours on slices to voxels: {volume_ml:.2f} ml, formula {exact:.2f} ml",
                    "voxel centres inside the shape",
                    f"{int(mask.sum()):,}",
                    f"{(mask == truth).mean():.3%}",
                    f"{dice(mask, truth):.4f}",
                ]
            )
    return rows


def refusals(scans: Path, apart: Path) -> list[list[str]]:
    folder = scans / "dicom_seg"
    contrast = scans / "abdomen_ct_dicom" / "series"
    chest, slices = scans / "chest_ct" / "series", folder / "ct-3slice"
    flipped = LabelMap.read(scans / "abdomen_ct_dicom" / "labels_v2.nii.gz")
    scan = Scan.read(chest)
    cut = apart / "cut.dcm"
    cut.write_bytes((folder / "liver.dcm").read_bytes()[:60_000])
    points = write_structure_set(apart / "points.dcm", [Region("marker", [np.zeros((1, 3))], "POINT")])

    def refused(what: str, read: Callable[[], object], place: Path = folder) -> list[str]:
        return refusal(what, read, place)

    return [
        refused("partial_overlaps.dcm", lambda: LabelMap.read(folder / "partial_overlaps.dcm")),
        refused(
            "highdicom/seg_image_ct_binary_overlap.dcm",
            lambda: LabelMap.read(folder / "highdicom" / "seg_image_ct_binary_overlap.dcm"),
        ),
        refused("highdicom/ct_image.dcm", lambda: LabelMap.read(folder / "highdicom" / "ct_image.dcm")),
        refused("liver_seg.nrrd", lambda: LabelMap.read(folder / "liver_seg.nrrd")),
        refused("liver.dcm for another scan", lambda: LabelMap.read(folder / "liver.dcm", source=chest)),
        refused(
            "liver.dcm for another scan, taken all the same",
            lambda: LabelMap.read(folder / "liver.dcm", scan=scan, source=chest, any_frame=True),
        ),
        refused("liver.dcm cut short", lambda: LabelMap.read(cut), apart),
        refused("RTSTRUCT without a scan", lambda: LabelMap.read(points), apart),
        refused("RTSTRUCT of points alone", lambda: LabelMap.read(points, scan=scan), apart),
        refused(
            "abdomen_ct_dicom: SEG to be written",
            lambda: flipped.write(apart / "x.dcm", contrast),
            contrast.parent,
        ),
        refused(
            "abdomen_ct_dicom labels written on another series",
            lambda: flipped.write(apart / "x.dcm", slices),
        ),
    ]


def test_label_maps_conform(shared_scans: Path, tmp_path: Path) -> None:
    folder = shared_scans / "dicom_seg"
    rows = [
        *segmentations(folder),
        *overlapping(folder),
        *highdicoms(folder / "highdicom"),
        *images(shared_scans, tmp_path),
        *written(shared_scans, tmp_path),
        *contours(tmp_path),
    ]
    table = markdown_table(HEAD, rows)
    refused = markdown_table(REFUSED, refusals(shared_scans, tmp_path))
    text = (
        "Compared on the truth's grid after SimpleITK brought the labels there by nearest neighbour. Agree: share of "
        f"all voxels; Dice: the lowest of the structures.\n\n{table}\n\nRefused, each with one sentence:\n\n{refused}"
    )
    check_section("conformance.md", "label maps", text)
