from __future__ import annotations

import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from anatomy.errors import AnatomyError
from anatomy.label_names import class_tables
from anatomy.labels import LabelMap

NAMES = {5: "liver", 7: "liver_tumour", 9: "inferior_vena_cava"}


def labelled() -> np.ndarray:
    array = np.zeros((5, 6, 8), np.uint8)
    array[1:4, 1:5, 1:5] = 5
    array[2, 2:4, 2:4] = 7
    array[4, 5, 7] = 9
    return array


def as_image(array: np.ndarray, vector: bool = False) -> sitk.Image:
    image = sitk.GetImageFromArray(array, isVector=vector)
    image.SetSpacing((0.5, 1.0, 2.0))
    image.SetOrigin((10.0, -20.0, 30.0))
    return image


def add_table(path: Path, table: str, order: str = "<") -> None:
    """Put a label table into the header of a .nii.gz, as nibabel writes an extension (size in sixteens, code 0)."""
    raw = gzip.decompress(path.read_bytes())
    body = (
        f'<?xml version="1.0"?> <CaretExtension> <LabelTable>{table}</LabelTable> </CaretExtension>'.encode()
    )
    body += b"\0" * (-(len(body) + 8) % 16)
    extension = struct.pack("<ii", len(body) + 8, 0) + body
    header = raw[:108] + struct.pack("<f", 352.0 + len(extension)) + raw[112:348] + b"\1\0\0\0"
    path.write_bytes(gzip.compress(header + extension + raw[352:]))


def test_names_embedded_in_nifti(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(as_image(labelled()), str(path))
    entries = {0: "???", 5: "liver", 7: "my <own> & part", 9: "IVC", 11: "spleen"}
    table = "".join(f'<Label Key="{k}" Red="1.0"><![CDATA[{n}]]></Label>\n' for k, n in entries.items())
    add_table(path, table)
    labels = LabelMap.read(path)
    assert labels.names == {5: "liver", 7: "my <own> & part", 9: "inferior_vena_cava"}
    assert labels.empty == {11: "spleen"}
    assert np.array_equal(labels.array, labelled())
    assert LabelMap.read(path, {"7": "liver_tumour"}).names == {7: "liver_tumour"}
    (tmp_path / "labels.json").write_text('{"9": "aorta"}')
    assert LabelMap.read(path).names == {9: "aorta"}


def test_damaged_table_and_damaged_file_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "labels.nii.gz"
    sitk.WriteImage(as_image(labelled()), str(path))
    add_table(path, '<Label Key="5">liver')
    with pytest.raises(AnatomyError, match=r"the label table in its header is damaged .* give names"):
        LabelMap.read(path)
    path.write_bytes(path.read_bytes()[:120])
    with pytest.raises(AnatomyError, match=r"damaged|cut short"):
        LabelMap.read(path)


def test_totalsegmentators_own_headers(shared_scans: Path, tmp_path: Path) -> None:
    for name, table in (
        ("abdomen_ct/labels_v2", "totalsegmentator_v2"),
        ("abdomen_mr/labels_mr", "totalsegmentator_mr"),
    ):
        alone = Path(shutil.copy(shared_scans / f"{name}.nii.gz", tmp_path))
        labels = LabelMap.read(alone)
        assert labels.names | labels.empty == dict(class_tables()[table])
        by_table = LabelMap.read(alone, table)
        assert by_table.names == labels.names
    with pytest.raises(
        AnatomyError, match=r"no class table 'totalsegmentator_v4'; did you mean totalsegmentator_v"
    ):
        LabelMap.read(alone, "totalsegmentator_v4")


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz", ".nii"])
@pytest.mark.parametrize("kind", [np.float64, np.int32, np.uint16])
def test_every_format_and_number_type(tmp_path: Path, ending: str, kind: type) -> None:
    path = tmp_path / f"labels{ending}"
    sitk.WriteImage(as_image(labelled().astype(kind)), str(path))
    labels = LabelMap.read(path, "totalsegmentator_v2", only=["liver"])
    assert labels.names == {5: "liver"}
    assert np.array_equal(labels.array, np.where(labelled() == 5, 5, 0))
    with pytest.raises(AnatomyError, match=r"has none of gallbladder|the label map is empty"):
        LabelMap.read(path, "totalsegmentator_v2", only=["gallbladder"])


def slicer(path: Path, layers: np.ndarray, segments: list[dict[str, str]]) -> Path:
    """A .seg.nrrd as 3D Slicer writes it: segment keys, one component a layer."""
    image = as_image(layers, vector=layers.ndim == 4)
    for index, entries in enumerate(segments):
        for key, text in entries.items():
            image.SetMetaData(f"Segment{index}_{key}", text)
    sitk.WriteImage(image, str(path))
    return path


def segment(name: str, value: int, layer: int = 0, tags: str = "") -> dict[str, str]:
    entries = {"ID": f"Segment_{value}_{layer}", "Name": name, "LabelValue": str(value), "Layer": str(layer)}
    return entries | ({"Tags": tags} if tags else {})


def terminology(kind: str, meaning: str, modifier: str = "", region: str = "") -> str:
    """Slicer's tag: context~category~type~modifier~context~region~region modifier."""
    side = {"": "^^", "left": "SCT^7771000^Left", "right": "SCT^24028007^Right"}[modifier]
    place = f"SCT^{region}^x" if region else "^^"
    return (
        "Segmentation.Status:inprogress|TerminologyEntry:Segmentation category and type - 3D Slicer General Anatomy "
        f"list~SCT^123037004^Anatomical Structure~SCT^{kind}^{meaning}~{side}~Anatomic codes - DICOM master list~"
        f"{place}~^^|"
    )


def test_slicers_names_and_codes(tmp_path: Path) -> None:
    path = slicer(
        tmp_path / "a.seg.nrrd",
        labelled(),
        [
            segment("Leber", 5, tags=terminology("10200004", "Liver")),
            segment("Segment_2", 7, tags=terminology("64033007", "Kidney", "left")),
            segment("what I drew", 9, tags=terminology("85756007", "Tissue")),
        ],
    )
    labels = LabelMap.read(path)
    assert labels.names == {5: "liver", 7: "kidney_left", 9: "what I drew"}
    assert np.array_equal(labels.array, labelled())
    assert LabelMap.read(path, {5: "spleen"}).names == {5: "spleen"}


def test_two_segments_of_one_code_keep_their_own_names(tmp_path: Path) -> None:
    tumour = terminology("108369006", "Neoplasm", region="10200004")
    path = slicer(
        tmp_path / "a.seg.nrrd",
        labelled(),
        [segment("Herd 1", 5, tags=tumour), segment("Herd 2", 7, tags=tumour)],
    )
    assert LabelMap.read(path).names == {5: "Herd 1", 7: "Herd 2"}
    one = slicer(tmp_path / "b.seg.nrrd", labelled(), [segment("Herd 1", 5, tags=tumour)])
    assert LabelMap.read(one).names == {5: "liver_tumour"}


def test_slicers_layers_that_overlap(tmp_path: Path) -> None:
    layers = np.zeros((*labelled().shape, 2), np.uint8)
    layers[..., 0] = np.where(labelled() == 5, 1, 0) + np.where(labelled() == 9, 2, 0)
    layers[1:4, 1:5, 1:3, 1] = 1
    segments = [segment("liver", 1), segment("IVC", 2), segment("tumour", 1, 1)]
    path = slicer(tmp_path / "a.seg.nrrd", layers, segments)
    with pytest.raises(AnatomyError, match=r"overlap \('liver' and 'liver_tumour' share 22 voxels\)"):
        LabelMap.read(path)
    labels = LabelMap.read(path, priority=["liver_tumour"])
    assert labels.names == {1: "liver", 2: "inferior_vena_cava", 3: "liver_tumour"}
    assert np.array_equal(labels.mask("liver_tumour"), layers[..., 1] == 1)
    assert np.array_equal(labels.mask("liver"), (layers[..., 0] == 1) & (layers[..., 1] == 0))
    assert LabelMap.read(path, {3: "spleen"}).names == {3: "spleen"}
    assert LabelMap.read(path, only=["liver"]).volumes_ml["liver"] == (layers[..., 0] == 1).sum() / 1000
    broken = slicer(tmp_path / "b.seg.nrrd", layers, [segment("liver", 1, 4)])
    with pytest.raises(AnatomyError, match=r"places 'liver' in layer 5, but it has 2"):
        LabelMap.read(broken)
    plain = tmp_path / "colour.nrrd"
    sitk.WriteImage(as_image(layers, vector=True), str(plain))
    with pytest.raises(AnatomyError, match="2 numbers a voxel"):
        LabelMap.read(plain, {1: "liver"})


def test_slicers_cropped_box_lands_on_the_scan(tmp_path: Path) -> None:
    whole = as_image(labelled())
    box = sitk.RegionOfInterest(whole, [6, 5, 3], [1, 1, 1])
    image = sitk.Image(box)
    for key, text in segment("liver", 5).items():
        image.SetMetaData(f"Segment0_{key}", text)
    sitk.WriteImage(image, str(tmp_path / "a.seg.nrrd"))
    labels = LabelMap.read(tmp_path / "a.seg.nrrd", scan=whole)
    assert np.array_equal(labels.array, np.where(labelled() == 5, 5, 0))
    assert labels.warnings == []


def test_folder_of_masks(tmp_path: Path) -> None:
    for name, value in (("liver", 5), ("liver_tumor", 7), ("my part", 9)):
        mask = as_image((labelled() == value).astype(np.uint8))
        sitk.WriteImage(mask, str(tmp_path / f"{name}.nii.gz"))
    labels = LabelMap.read(tmp_path)
    assert sorted(labels.structures) == ["liver", "liver_tumour", "my part"]
    assert np.array_equal(labels.mask("liver_tumour"), labelled() == 7)
    sitk.WriteImage(as_image((labelled() > 0).astype(np.uint8)), str(tmp_path / "body.nii.gz"))
    with pytest.raises(AnatomyError, match="'body' and 'liver' share 44 voxels"):
        LabelMap.read(tmp_path)
    assert LabelMap.read(tmp_path, priority=["liver", "liver_tumour", "my part"]).empty == {1: "body"}
    sitk.WriteImage(as_image(labelled()), str(tmp_path / "zz.nii.gz"))
    with pytest.raises(AnatomyError, match=r"zz\.nii\.gz holds other values than 0 and 1"):
        LabelMap.read(tmp_path, priority=["liver", "liver_tumour", "my part"])
    moved = as_image(labelled())
    moved.SetOrigin((0.0, 0.0, 0.0))
    sitk.WriteImage(moved, str(tmp_path / "zz.nii.gz"))
    with pytest.raises(AnatomyError, match="masks of one folder share their grid"):
        LabelMap.read(tmp_path, priority=["liver", "liver_tumour", "my part"])


def test_what_is_no_label_map_gets_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(AnatomyError, match="no label map at"):
        LabelMap.read(tmp_path / "nothing.nii.gz")
    (tmp_path / "notes.txt").write_text("liver")
    with pytest.raises(
        AnatomyError, match="is no label map this version reads: give NIfTI, NRRD, MHA, DICOM-SEG"
    ):
        LabelMap.read(tmp_path / "notes.txt")
    with pytest.raises(AnatomyError, match="holds no label map"):
        LabelMap.read(tmp_path)
    with pytest.raises(AnatomyError, match="no label map at"):
        LabelMap.read(tmp_path / "nothing")
