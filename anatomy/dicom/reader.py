"""Reader: pictures in, one image and its facts out; or one sentence why not."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset

from anatomy.dicom import repair as mend
from anatomy.dicom.pixels import decode
from anatomy.dicom.series import choose
from anatomy.dicom.slices import Slice, number_of, slices_below, slices_in
from anatomy.dicom.stack import Stack, copies_fault, geometry_faults
from anatomy.errors import AnatomyError
from anatomy.facts import Facts
from anatomy.progress import Progress, silent
from anatomy.repairs import Repair, check_repairs, refuse_needless, refuse_unmended

_PHASES = {
    "native": r"\bnativ|without contrast|non.?contrast|unenhanced|\bplain\b",
    "arterial": r"arteri",
    "portal venous": r"portal|venous|venös|\bpv\b",
    "delayed": r"delay|late|spät|excret",
}


def read_series(
    place: Path,
    series: str | int | None = None,
    repair: str | Iterable[str] | None = None,
    progress: Progress = silent,
) -> tuple[sitk.Image, Facts]:
    """Read the one image series in a folder and its sub-folders, or in one enhanced file.

    Parameters
    ----------
    place : Path
        Folder of slices (other files are passed over), or one multi-frame file.
    series : str or int, optional
        Which series, or stack of a series, where there are several: its number in the refusal's list ('2',
        '2.1'), or its SeriesInstanceUID.
    repair : str or iterable of str, optional
        Repairs that are allowed, from `anatomy.repairs.REPAIRS`.
    progress : Progress
        Told about files and slices read.

    Returns
    -------
    image : SimpleITK.Image
        int16 or float32 after the modality rescale, LPS mm; in CT, padding and values below -1024 HU are
        -1024 HU.
    facts : Facts
        Technical facts, with the repairs that were done.

    Raises
    ------
    AnatomyError
        If there is no image, or several series and none chosen, or the slices are no regular volume and the
        repair that mends them was not asked for, or a repair was asked for that has nothing to mend.
    """
    with warnings.catch_warnings():
        # pydicom warns of odd headers; what matters is raised.
        warnings.simplefilter("ignore")
        return _read(place, series, check_repairs(repair), progress)


def _read(
    place: Path, series: str | int | None, wanted: frozenset[str], progress: Progress
) -> tuple[sitk.Image, Facts]:
    chosen, done, number = choose(place, _pictures(place, progress), series, wanted)
    modality = str(chosen[0].header.get("Modality", "") or "unknown")
    if len(chosen) < 2:
        raise AnatomyError(f"{chosen[0].path} is a single slice and no volume: give a series of slices")
    stack = Stack.of(chosen)
    copies = copies_fault(stack)
    if copies is not None:
        refuse_unmended([copies], wanted)
        stack, dropped = mend.drop_copies(stack)
        done.append(dropped)
    image, mended = _image(stack, modality, wanted, progress)
    done += mended
    refuse_needless(done, wanted, place)
    return image, _facts(stack.slices, modality, number, done)


def _pictures(place: Path, progress: Progress) -> list[Slice]:
    if place.is_dir():
        return slices_below(place, progress)
    pictures = slices_in(place)
    if not pictures:
        raise AnatomyError(
            f"{place} is a DICOM file without a picture: give the folder that holds the slices"
        )
    if len(pictures) == 1:
        raise AnatomyError(f"{place} is a single DICOM file: give the folder that holds the whole series")
    return pictures


def _image(
    stack: Stack, modality: str, wanted: frozenset[str], progress: Progress
) -> tuple[sitk.Image, list[Repair]]:
    """The stack as an image, mended as far as that was asked for."""
    faults = geometry_faults(stack)
    refuse_unmended(faults, wanted)
    needed = {fault.repair for fault in faults}
    if "deskew" in needed:
        mend.check_skew(stack)
    if "resample" in needed:
        mend.check_gaps(stack)
    voxels = decode(stack.slices, modality, progress)
    origin, gap = stack.positions[0], float(np.ptp(stack.heights)) / (len(stack.slices) - 1)
    done = []
    if "deskew" in needed:
        voxels, origin, repair = mend.deskew(voxels, stack, mend.background_of(voxels, modality))
        done.append(repair)
    if "resample" in needed:
        voxels, gap, repair = mend.resample(voxels, stack)
        done.append(repair)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing([*stack.spacing, gap])
    image.SetOrigin(origin.tolist())
    image.SetDirection(stack.frame.T.ravel().tolist())
    return image, done


def _facts(slices: Sequence[Slice], modality: str, number: str | None, done: Iterable[Repair]) -> Facts:
    header, thickness_mm = slices[0].header, slices[0].thickness_mm
    return Facts(modality, number_of(header, "KVP"), _contrast(header), thickness_mm, number, tuple(done))


def _contrast(header: Dataset) -> str | None:
    """The contrast phase in one of our own words: free text may hold anything, so none of it is copied."""
    text = str(header.get("SeriesDescription", "") or "").lower()
    words: Iterable[str] = (phase for phase, pattern in _PHASES.items() if re.search(pattern, text))
    phase = next(iter(words), None)
    given = str(header.get("ContrastBolusAgent", "") or "").strip()
    if phase is None and given:
        return "contrast given, phase not stated"
    return phase
