"""Pixels: the numbers in the files, turned into what they mean.

Theory: a voxel's value is slope × stored number + intercept (PS3.3 C.11.1.1), slice by slice. Voxels that carry
PixelPaddingValue, or lie between it and PixelPaddingRangeLimit, were never measured (C.7.5.1.1.2). Native and
run-length coded numbers are decoded by pydicom. JPEG, JPEG-LS and JPEG 2000 are decoded by GDCM, which gets a
bare copy of the coded picture, so that it can neither rescale nor invert it by rules of its own.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array
from pydicom.uid import (
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from anatomy.dicom.slices import Slice, read_dataset
from anatomy.errors import AnatomyError
from anatomy.images import quiet
from anatomy.progress import Progress

#: What voxels of a CT outside the scanned region are set to, HU.
AIR_HU = -1024
_SHAPE = (
    "Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
    "NumberOfFrames",
)  # fmt: skip
_TAGS = [
    *_SHAPE, "PhotometricInterpretation", "PixelPaddingValue", "PixelPaddingRangeLimit", "PixelData",
    "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
]  # fmt: skip
# A padding value within what tissue measures would punch holes into tissue: such a header is wrong.
_TISSUE_HU = (-900.0, 3071.0)


def decode(slices: Sequence[Slice], modality: str, progress: Progress) -> NDArray[Any]:
    """Voxel values, shape (n, rows, columns): int16 where every one is a whole number that fits, else float32.

    Parameters
    ----------
    slices : sequence of Slice
        In the order wanted.
    modality : str
        DICOM modality code: values of a CT below -1024 HU, which is less than nothing, become -1024 HU.
    progress : Progress
        Told of the slices read.

    Raises
    ------
    AnatomyError
        If a file's pixels are damaged.
    """
    groups = [list(group) for _, group in groupby(slices, key=lambda one: one.path)]
    whole = all(one.slope.is_integer() and one.intercept.is_integer() for one in slices)
    planes: list[NDArray[Any]] = []
    with quiet(), ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        for many in pool.map(lambda group: list(_values(group, modality, whole)), groups):
            planes += many
            if len(planes) % 10 == 0:
                progress("Reading the scan's slices", len(planes) / len(slices))
    # Filled plane by plane, so that no more than one copy of the volume is held.
    fits = whole and all(plane.dtype == np.int16 for plane in planes)
    voxels = np.empty((len(planes), *planes[0].shape), np.int16 if fits else np.float32)
    for index in range(len(planes)):
        voxels[index] = planes[index]
        planes[index] = planes[index][:0]
    return voxels


def stored_planes(group: Sequence[Slice]) -> Iterator[tuple[Dataset, NDArray[Any]]]:
    """Header and stored numbers of pictures of one file, shape (rows, columns) each.

    Raises
    ------
    AnatomyError
        If the file is damaged.
    """
    path = group[0].path
    try:
        data = read_dataset(path, _TAGS)
        syntax = data.file_meta.TransferSyntaxUID
        coded = _by_gdcm(data) if syntax.is_compressed and syntax != RLELossless else None
        for one in group:
            plane = pixel_array(data, index=one.frame) if coded is None else coded[one.frame]
            yield data, _extended(data, plane)
    except Exception as error:  # whatever pydicom, its decoders and GDCM trip over in a damaged file
        raise AnatomyError(
            f"{path} is damaged or cut short (its pixels cannot be decoded), or coded in a way that is not read: "
            "copy the series again, or export it uncompressed"
        ) from error


def _values(group: Sequence[Slice], modality: str, whole: bool) -> Iterator[NDArray[Any]]:
    for one, (data, stored) in zip(group, stored_planes(group), strict=True):
        plane = _rescaled(stored, one, whole)
        _blank_padding(plane, stored, data, one, modality)
        if modality == "CT":
            np.maximum(plane, AIR_HU, out=plane)
        small = plane.dtype.kind == "i" and int(plane.min()) >= -32768 and int(plane.max()) <= 32767
        yield plane.astype(np.int16 if small else np.float32)


def _rescaled(stored: NDArray[Any], one: Slice, whole: bool) -> NDArray[Any]:
    """Slope times the stored numbers plus intercept: int64 where all three are whole, else float64."""
    if whole and stored.dtype.kind in "iu":
        return stored.astype(np.int64) * int(one.slope) + int(one.intercept)
    return stored.astype(np.float64) * one.slope + one.intercept


def _blank_padding(
    plane: NDArray[Any], stored: NDArray[Any], data: Dataset, one: Slice, modality: str
) -> None:
    """Set voxels that were never measured to air in a CT, else to the smallest value that was measured."""
    value = _padding(data, "PixelPaddingValue", stored)
    if value is None:
        return
    limit = _padding(data, "PixelPaddingRangeLimit", stored)
    low, high = sorted((value, value if limit is None else limit))
    ends = (low * one.slope + one.intercept, high * one.slope + one.intercept)
    if modality == "CT" and max(ends) > _TISSUE_HU[0] and min(ends) < _TISSUE_HU[1]:
        return
    padded = (stored >= low) & (stored <= high)
    if not padded.any():
        return
    if modality == "CT":
        plane[padded] = AIR_HU
    elif not padded.all():
        # Padding darker than everything measured already is what it should look like.
        least = plane[~padded].min()
        plane[padded & (plane > least)] = least


def _padding(data: Dataset, tag: str, stored: NDArray[Any]) -> float | None:
    value = data.get(tag, None)
    if value is None or isinstance(value, (bytes, pydicom.multival.MultiValue)):
        return None
    value = float(value)
    # Written as the other sign's number by tools that take the tag's type from elsewhere.
    if stored.dtype.kind == "i" and value > np.iinfo(stored.dtype).max:
        value -= 2.0 ** (8 * stored.dtype.itemsize)
    if stored.dtype.kind == "u" and value < 0:
        value += 2.0 ** (8 * stored.dtype.itemsize)
    return value


def _extended(data: Dataset, plane: NDArray[Any]) -> NDArray[Any]:
    """Stored numbers without what older objects keep in the unused bits above them (overlays)."""
    bits, stored = int(data.get("BitsAllocated", 16)), int(data.get("BitsStored", 16))
    if plane.dtype.kind not in "iu" or stored >= bits or bits != 8 * plane.dtype.itemsize:
        return plane
    shift = bits - stored
    return (plane << shift) >> shift


def _by_gdcm(data: Dataset) -> NDArray[Any]:
    """Stored numbers of all frames, decoded by GDCM from a bare copy of the coded pictures."""
    frames = int(data.get("NumberOfFrames", 1) or 1)
    bare = Dataset()
    for tag in _SHAPE:
        if tag in data:
            setattr(bare, tag, data[tag].value)
    kind = SecondaryCaptureImageStorage
    if frames > 1:
        kind = MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    bare.PhotometricInterpretation = "MONOCHROME2"
    bare.SOPClassUID, bare.SOPInstanceUID = kind, generate_uid()
    bare.add(data["PixelData"])
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = data.file_meta.TransferSyntaxUID
    bare.file_meta.MediaStorageSOPClassUID = kind
    bare.file_meta.MediaStorageSOPInstanceUID = bare.SOPInstanceUID
    with tempfile.TemporaryDirectory(prefix="organtwin-") as folder:
        path = Path(folder) / "coded.dcm"
        bare.save_as(path, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        return sitk.GetArrayFromImage(reader.Execute()).reshape(frames, int(data.Rows), int(data.Columns))
