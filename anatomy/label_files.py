"""Which reader a label file needs: images, segmentations of 3D Slicer and DICOM, contours, folders of masks."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from anatomy import dicom_object, dicom_seg, images, rtstruct, seg_nrrd
from anatomy.errors import AnatomyError
from anatomy.label_names import names_for, sidecar
from anatomy.segments import Found, Reading, Segment, flatten

_KINDS = "NIfTI, NRRD, MHA, DICOM-SEG or RTSTRUCT"


def read(path: Path, reading: Reading) -> Found:
    """Read a label file or folder of any kind.

    Parameters
    ----------
    path : Path
        File or folder.
    reading : Reading
        How.

    Raises
    ------
    AnatomyError
        If there is none, it is of another kind, damaged, or cannot be one label image.
    """
    if path.is_dir():
        return _folder(path, reading)
    kind = dicom_object.class_of(path)
    if kind in dicom_object.SEGMENTATION:
        return dicom_seg.read_seg(path, reading)
    if kind == dicom_object.RT_STRUCTURE_SET:
        return rtstruct.read_contours(path, reading)
    if kind is not None:
        raise AnatomyError(
            f"{path} is a DICOM file of another kind ({dicom_object.kind_of(path)}), no label map: "
            "give the SEG or RTSTRUCT file"
        )
    if images.file_type(path) is None and path.exists():
        raise AnatomyError(f"{path} is no label map this version reads: give {_KINDS}")
    return _image(path, reading)


def _image(path: Path, reading: Reading) -> Found:
    """A label image, or the layers of a .seg.nrrd."""
    header, components = _peek(path)
    named = reading.names is not None or sidecar(path).is_file()
    if seg_nrrd.has_segments(header) and (components > 1 or not named):
        image = images.read_image(path, "label map") if components == 1 else _layers(path)
        return seg_nrrd.read_segments(image, header, reading, str(path))
    image = images.read_image(path, "label map")
    names = names_for(path, reading.names)
    if not reading.only:
        return Found(image, names)
    values = sitk.GetArrayViewFromImage(image)
    segments = [Segment(value, name, partial(np.equal, values, value)) for value, name in names.items()]
    return flatten(segments, image, Reading(only=reading.only, progress=reading.progress), str(path))


def _peek(path: Path) -> tuple[dict[str, str], int]:
    """Entries of an NRRD header and numbers a voxel; nothing for what is no readable NRRD."""
    if images.file_type(path) != ".nrrd":
        return {}, 1
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    with images.quiet():
        try:
            reader.ReadImageInformation()
        except RuntimeError:
            return {}, 1
    return {key: reader.GetMetaData(key) for key in reader.GetMetaDataKeys()}, reader.GetNumberOfComponents()


def _layers(path: Path) -> sitk.Image:
    with images.quiet():
        try:
            image = sitk.ReadImage(str(path))
        except RuntimeError as error:
            raise AnatomyError(
                f"{path} cannot be read as a label map: the file is damaged or cut short; copy it again"
            ) from error
    if image.GetDimension() != 3:
        raise AnatomyError(f"{path} has {image.GetDimension()} dimensions; a label map has three")
    return image


def _folder(path: Path, reading: Reading) -> Found:
    """The one DICOM object of a folder, or its masks."""
    files = [p for p in sorted(path.iterdir()) if p.is_file() and not p.name.startswith(".")]
    objects = [
        p
        for p in files
        if dicom_object.class_of(p) in (*dicom_object.SEGMENTATION, dicom_object.RT_STRUCTURE_SET)
    ]
    if len(objects) == 1:
        return read(objects[0], reading)
    if objects:
        raise AnatomyError(
            f"{path} holds {len(objects)} DICOM segmentations ({', '.join(p.name for p in objects[:5])}): give one"
        )
    masks = [p for p in files if images.file_type(p)]
    if not masks:
        raise AnatomyError(f"{path} holds no label map: give a file ({_KINDS}) or a folder of masks")
    return _masks(masks, reading, str(path))


def _masks(files: list[Path], reading: Reading, where: str) -> Found:
    """One mask a file, called after its structure, as TotalSegmentator writes them."""
    grid = images.read_image(files[0], "mask")
    segments = []
    for number, file in enumerate(files, start=1):
        kind = images.file_type(file) or ""
        segments.append(
            Segment(number, file.name[: len(file.name) - len(kind)], partial(_mask, file, grid, files[0]))
        )
    return flatten(segments, grid, reading, where)


def _mask(file: Path, grid: sitk.Image, first: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    image = images.read_image(file, "mask")
    if not images.same_grid(image, grid):
        raise AnatomyError(
            f"{file} lies on another grid than {first.name}: masks of one folder share their grid"
        )
    values = sitk.GetArrayViewFromImage(image)
    found = np.unique(values)
    if not np.isin(found, (0, 1, 255)).all() or found.size > 2:
        raise AnatomyError(
            f"{file} holds other values than 0 and 1 ({', '.join(f'{v:g}' for v in found[:5])}…): "
            "a folder of masks has one structure a file; give a label map by its file"
        )
    return np.asarray(values > 0)
