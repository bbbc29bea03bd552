"""Segmentation: structures found in a scan by protocols, one protocol a file, and a registry of them.

Contract: `segment` gives a label map on the scan's own grid. Every structure carries a confidence from 0 to 1,
which orders cases for review and is no probability, and what a person should know is said in `warnings`. A
structure that is not there (a liver without tumours) is named in the map's `empty` and in a warning.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk

from anatomy import structures as vocabulary
from anatomy.errors import AnatomyError
from anatomy.labels import LabelMap
from anatomy.progress import Progress, silent
from anatomy.scan import Scan
from anatomy.segmentation.abdomen import PROTOCOLS as _CT
from anatomy.segmentation.abdomen import Abdomen
from anatomy.segmentation.mr_brain import STRUCTURES as _MR
from anatomy.segmentation.mr_brain import label_brain

__all__ = ["available", "segment"]

_LABELS = "give a label map from another tool (--labels)"
# Air in a CT lies at -1000 HU, and no MR image has such values.
_CT_AIR = -500


def available() -> list[str]:
    """Structures that a protocol can find, in a CT or (the brain and its tissues) in a T1-weighted MR image."""
    return [*_CT, *_MR]


def segment(scan: Scan, structures: Iterable[str], progress: Progress = silent) -> LabelMap:
    """Find structures in a scan.

    Parameters
    ----------
    scan : Scan
        A CT of the upper abdomen (contrast helps, vessels and tumours need it), or a T1-weighted MR image of the
        head for the brain and its tissues.
    structures : iterable of str
        Names or aliases from the vocabulary; `available()` lists those with a protocol.
    progress : Progress
        Told the stage and its share.

    Returns
    -------
    LabelMap
        On the scan's grid, values 1, 2, … in the order asked; `liver` leaves out tumours and vessels that were
        asked for too. Where the two venous trees cannot be told apart they come as one `liver_vessels`.

    Raises
    ------
    AnatomyError
        If nothing or something unknown is asked for, no protocol finds it, the scan is no CT, the liver or
        the body cannot be found, or nothing of what was asked for is there.
    """
    wanted = _wanted(structures)
    if set(wanted) <= set(_MR):
        _check_mr(scan, wanted)
        return label_brain(scan, wanted, progress)
    _check_ct(scan, wanted)
    workspace = Abdomen(scan, progress)
    found = {name: _CT[name](workspace) for name in _CT if name in wanted}
    wanted = workspace.merged_trees(wanted, found)
    array = np.zeros(scan.array.shape, dtype=np.uint8)
    for name in _CT:
        if name in wanted:
            array[found[name]] = wanted.index(name) + 1
    if not array.any():
        raise AnatomyError(f"nothing that was asked for was found: {'; '.join(workspace.warnings)}")
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(scan.image)
    confidence = {name: round(workspace.confidence[name], 3) for name in wanted}
    progress("Segmented", 1.0)
    return LabelMap(image, dict(enumerate(wanted, start=1)), confidence, workspace.warnings)


def _wanted(structures: Iterable[str]) -> list[str]:
    names = [structures] if isinstance(structures, str) else list(structures)
    wanted = list(dict.fromkeys(vocabulary.find(name).name for name in names))
    if not wanted:
        raise AnatomyError("no structure was asked for: name at least one")
    for name in wanted:
        if name not in available():
            raise AnatomyError(
                f"no protocol finds '{name}' in a scan yet (in CT: {', '.join(_CT)}; in T1-weighted MR of the head: "
                f"{', '.join(_MR)}): {_LABELS}"
            )
    for_mr = [name for name in wanted if name in _MR]
    if for_mr and len(for_mr) < len(wanted):
        others = ", ".join(name for name in wanted if name not in _MR)
        raise AnatomyError(f"{', '.join(for_mr)} are found in MR images and {others} in CT: ask for one kind")
    return wanted


def _check_mr(scan: Scan, wanted: list[str]) -> None:
    if scan.modality != "MR" and scan.array.min() <= _CT_AIR:
        raise AnatomyError(
            f"the scan is a CT, and the protocols find {', '.join(wanted)} in T1-weighted MR images: {_LABELS}"
        )


def _check_ct(scan: Scan, wanted: list[str]) -> None:
    if scan.modality == "MR":
        raise AnatomyError(
            f"the scan is an MR image, and the protocols find {', '.join(wanted)} in CT: {_LABELS}"
        )
    if scan.array.min() > _CT_AIR:
        raise AnatomyError(
            f"the scan's values ({scan.array.min():g} to {scan.array.max():g}) are no Hounsfield units with air "
            f"around a body, and the protocols find {', '.join(wanted)} in CT: {_LABELS}"
        )
