"""LabelMap: one image of whole numbers, and the structure each number stands for.

Contract: the image is three-dimensional, LPS millimetres, unsigned integers; 0 is background. `names` maps
every value that occurs in at least one voxel to its structure, under the vocabulary's name where it has one
and under the given name otherwise. A value that was named but occurs nowhere is kept in `empty`, so
that asking for it can say so; a value that occurs but was not named becomes background on reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import images, label_files, seg_nrrd, structures
from anatomy.dicom_object import frames_of_reference
from anatomy.dicom_seg_out import Kind, Origin, write_seg
from anatomy.errors import AnatomyError
from anatomy.files import whole_or_nothing
from anatomy.label_names import Names, sidecar
from anatomy.matching import Resampling, both_grids, on_grid
from anatomy.progress import Progress, silent
from anatomy.segments import Reading


class LabelMap:
    """A label image with its structures.

    Parameters
    ----------
    image : SimpleITK.Image
        Three-dimensional image of whole numbers, LPS mm; 0 is background.
    names : mapping of int to str
        Structure of each label value; aliases (`liver_tumor`, `IVC`) become the vocabulary's names.
    confidence : mapping of str to float, optional
        How sure the segmentation is of each structure, 0 to 1; empty for label maps from elsewhere.
    warnings : iterable of str, optional
        What a person should know before using it.

    Raises
    ------
    AnatomyError
        If voxels are not whole numbers from 0 to 65535, two values carry the same name, no value is named, or
        none of the named values occurs.
    """

    def __init__(
        self,
        image: sitk.Image,
        names: Mapping[int, str],
        confidence: Mapping[str, float] | None = None,
        warnings: Iterable[str] = (),
    ) -> None:
        given = {int(value): structures.canonical(name) for value, name in names.items()}
        _check_names(given)
        self._array = _whole_numbers(image, given)
        self._geometry = image
        present = np.flatnonzero(self._counts)
        self._names = {int(v): given[int(v)] for v in present if v}
        self._empty = {v: n for v, n in sorted(given.items()) if v not in self._names}
        if not self._names:
            raise AnatomyError(
                f"the label map is empty: none of its {len(given)} named labels "
                f"({', '.join(sorted(given.values())[:5])}…) has a voxel"
            )
        self.confidence: dict[str, float] = dict(confidence or {})
        self.warnings: list[str] = [*warnings, *structures.assumed(names.values())]

    @cached_property
    def image(self) -> sitk.Image:
        """The label image: uint8 (uint16 when a value exceeds 255), LPS mm."""
        image = sitk.GetImageFromArray(self._array)
        image.CopyInformation(self._geometry)
        return image

    @property
    def array(self) -> NDArray[np.unsignedinteger[Any]]:
        """The label values, shape (z, y, x) in the image's own axes; read-only."""
        view = self._array.view()
        view.flags.writeable = False
        return view

    @property
    def names(self) -> dict[int, str]:
        """Structure of each label value that has at least one voxel."""
        return dict(self._names)

    @property
    def empty(self) -> dict[int, str]:
        """Structures that were named but have no voxel."""
        return dict(self._empty)

    @property
    def structures(self) -> list[str]:
        """Names of the structures that have at least one voxel, by label value."""
        return list(self._names.values())

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel edges along the image's x, y, z axes, mm."""
        sx, sy, sz = self._geometry.GetSpacing()
        return sx, sy, sz

    @cached_property
    def _counts(self) -> NDArray[np.int64]:
        """Voxels of each label value; counted slice by slice, since `bincount` copies what it counts as int64."""
        most = int(self._array.max()) + 1
        counts = np.zeros(most, dtype=np.int64)
        for plane in self._array:
            counts += np.bincount(plane.ravel(), minlength=most)
        return counts

    @cached_property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in millilitres: voxels times voxel volume."""
        voxel_ml = float(np.prod(self.spacing_mm)) / 1000.0
        return {name: float(self._counts[value]) * voxel_ml for value, name in self._names.items()}

    def value(self, name: str) -> int:
        """The label value of a structure.

        Raises
        ------
        AnatomyError
            If the map does not have the structure, or names it without any voxel.
        """
        wanted = structures.canonical(name)
        for value, known in self._names.items():
            if known == wanted:
                return value
        for value, known in self._empty.items():
            if known == wanted:
                raise AnatomyError(f"the label map names '{known}' (value {value}) but no voxel carries it")
        held = list(self._names.values())
        hint = (
            structures.near(wanted, held)
            or f"; it has {', '.join(held[:12])}{' …' if len(held) > 12 else ''}"
        )
        if structures.lookup(name) is None:
            raise AnatomyError(f"unknown structure '{name}'{hint}")
        raise AnatomyError(f"the label map has no '{wanted}'{hint}")

    def mask(self, name: str) -> NDArray[np.bool_]:
        """Where a structure is, shape (z, y, x) bool; errors as `value`."""
        return self._array == self.value(name)

    def select(self, wanted: Iterable[str]) -> LabelMap:
        """A label map of these structures only; their values are kept, everything else becomes background.

        Raises
        ------
        AnatomyError
            If nothing is asked for, or as `value` for any of the names.
        """
        values = {self.value(name): None for name in wanted}
        if not values:
            raise AnatomyError("no structure was asked for: name at least one")
        keep = np.zeros(int(self._array.max()) + 1, dtype=self._array.dtype)
        keep[list(values)] = list(values)
        names = {value: self._names[value] for value in values}
        confidence = {n: c for n, c in self.confidence.items() if n in names.values()}
        return LabelMap(self._like(keep[self._array]), names, confidence, self.warnings)

    def with_box(self, box: tuple[slice, slice, slice], values: NDArray[Any]) -> LabelMap:
        """This map with other values in a box (slices along z, y, x); what lies outside is not looked at again.

        Raises
        ------
        AnatomyError
            If a value is not one of the map's, or no structure keeps a voxel.
        """
        was, now = np.unique(self._array[box]), np.unique(values)
        own = self._names | self._empty
        foreign = [int(v) for v in now if v and int(v) not in own]
        if foreign:
            raise AnatomyError(f"the label map has no value {foreign[0]}; it has {', '.join(map(str, own))}")
        changed = LabelMap.__new__(LabelMap)
        changed._array = self._array.copy()
        changed._array[box] = values
        changed._geometry = self._geometry
        lost = {
            int(v) for v in set(was.tolist()) - set(now.tolist()) if v and not (changed._array == v).any()
        }
        held = (set(self._names) | {int(v) for v in now if v}) - lost
        changed._names = {v: own[v] for v in sorted(held)}
        changed._empty = {v: name for v, name in sorted(own.items()) if v not in held}
        if not held:
            raise AnatomyError("the label map would be empty: no structure keeps a voxel")
        changed.confidence, changed.warnings = dict(self.confidence), list(self.warnings)
        return changed

    def check_grid(self, scan: Any) -> None:
        """Refuse a scan whose voxels are not this map's, stored in the same order.

        Parameters
        ----------
        scan : Scan, LabelMap or SimpleITK.Image
            What the map must lie on.

        Raises
        ------
        AnatomyError
            If the grids differ; the message gives both.
        """
        image = scan if isinstance(scan, sitk.Image) else scan.image
        if images.same_grid(self._geometry, image):
            return
        if images.alike_grid(self._geometry, image):
            raise AnatomyError(
                "the label map stores the scan's voxels in another order: use matched_to(scan). "
                f"{both_grids(self._geometry, image)}"
            )
        raise AnatomyError(
            "the label map lies on another grid than the scan: label the scan itself, or use matched_to(scan). "
            f"{both_grids(self._geometry, image)}"
        )

    def matched_to(self, scan: Any, resample: Resampling | None = None) -> LabelMap:
        """This map on the scan's grid, by where its voxels lie and never by array order.

        Where the voxels of both coincide (flipped, permuted, a part of the scan, more than the scan) they are
        copied. Another grid is resampled only when asked for.

        Parameters
        ----------
        scan : Scan, LabelMap or SimpleITK.Image
            The grid.
        resample : {'nearest', 'linear'}, optional
            For a grid whose voxels do not coincide: the nearest voxel's label, or the label with the largest
            linearly interpolated weight.

        Returns
        -------
        LabelMap
            On the scan's grid, 0 where this map does not reach; `warnings` say what was lost or interpolated.

        Raises
        ------
        AnatomyError
            If the grids do not coincide and no resampling was asked for, or no label lies in the scan.
        """
        image = scan if isinstance(scan, sitk.Image) else scan.image
        if images.same_grid(self._geometry, image):
            return self
        moved, warnings = on_grid(self.image, image, resample)
        return LabelMap(moved, self._names | self._empty, self.confidence, [*self.warnings, *warnings])

    @classmethod
    def read(
        cls,
        path: str | Path,
        names: Names | None = None,
        *,
        scan: Any = None,
        source: str | Path | None = None,
        only: Sequence[str] = (),
        priority: Sequence[str] = (),
        threshold: float = 0.5,
        resample: Resampling | None = None,
        any_frame: bool = False,
        progress: Progress = silent,
    ) -> LabelMap:
        """Read a label map from NIfTI, NRRD, MHA, DICOM-SEG, RTSTRUCT or a folder of masks.

        Parameters
        ----------
        path : str or Path
            The label image (floating-point voxels are accepted when every one is a whole number), a 3D Slicer
            segmentation (.seg.nrrd, layers too), a DICOM-SEG or RTSTRUCT file or the folder that holds it alone,
            or a folder of NIfTI, NRRD or MHA masks that are called after their structures.
        names : mapping, str or Path, optional
            {value: name} or {name: value} (segment and ROI numbers are values), a JSON file of either, or a
            published class table (`totalsegmentator_v2`). Without it, names come from a JSON file beside the
            image (`labels.json` beside `labels.nii.gz`), else from the file itself.
        scan : Scan, optional
            The scan that was labelled: the map is returned on its grid (see `matched_to`). RTSTRUCT needs it.
        source : str or Path, optional
            The DICOM folder of that scan: a DICOM object must lie in its frame of reference.
        only : sequence of str
            Structures to keep; all if empty.
        priority : sequence of str
            Structures that win a voxel where several overlap, the first first; overlap is refused without it.
        threshold : float
            Share from which a voxel of a fractional DICOM-SEG counts, 0 to 1.
        resample : {'nearest', 'linear'}, optional
            See `matched_to`; without it another grid than the scan's is refused.
        any_frame : bool
            Take a DICOM object of another frame of reference all the same.
        progress : Progress
            Told about structures read, where they are kept apart.

        Raises
        ------
        AnatomyError
            If the file cannot be read, belongs to another scan, or holds structures that overlap; or names are
            missing, malformed or cover no voxel.
        """
        path = Path(path)
        grid = None if scan is None else getattr(scan, "image", scan)
        frames = None if source is None or any_frame else frames_of_reference(Path(source))
        reading = Reading(names, tuple(only), tuple(priority), threshold, grid, frames, progress)
        try:
            found = label_files.read(path, reading)
            labels = cls(found.image, found.names, warnings=found.warnings)
            return labels if scan is None else labels.matched_to(scan, resample)
        except AnatomyError as error:
            if str(path) in str(error):
                raise
            raise AnatomyError(f"{path}: {error}") from error

    def write(
        self,
        path: str | Path,
        source: str | Path | None = None,
        *,
        series: str | None = None,
        kind: Kind = "BINARY",
        origin: Origin | None = None,
    ) -> None:
        """Write compressed, whole or not at all: NRRD, NIfTI, MHA, or DICOM-SEG (.dcm).

        NRRD carries the names in its header as 3D Slicer's segment keys (name it `.seg.nrrd` to have Slicer
        load it as a segmentation); NIfTI and MHA get a JSON file {value: name} beside them. DICOM-SEG carries
        SNOMED CT codes, and the patient and study of the source series, copied and never made up.

        Parameters
        ----------
        path : str or Path
            The file; its ending says the type.
        source : str or Path, optional
            For DICOM-SEG: the folder of the series that was labelled.
        series : str, optional
            For DICOM-SEG: SeriesInstanceUID where several series of the folder lie where the labels do.
        kind : {'BINARY', 'LABELMAP'}
            For DICOM-SEG: segmentation type. BINARY, which every viewer reads, numbers its segments from 1 in the
            order of the label values; LABELMAP keeps the values.
        origin : {'AUTOMATIC', 'SEMIAUTOMATIC', 'MANUAL'}, optional
            For DICOM-SEG: how the labels came about; AUTOMATIC for a map with confidences of our protocols,
            else SEMIAUTOMATIC.

        Raises
        ------
        AnatomyError
            If the type is unknown, the source series is missing or lies elsewhere, or the file cannot be written
            whole.
        """
        path = Path(path)
        if path.suffix.lower() == ".dcm":
            if source is None:
                raise AnatomyError(
                    f"to write {path} as DICOM-SEG, give the folder of the series that was labelled"
                )
            origin = origin or ("AUTOMATIC" if self.confidence else "SEMIAUTOMATIC")
            write_seg(path, self.image, self._names, Path(source), series=series, kind=kind, origin=origin)
            return
        image = sitk.Image(self.image)
        if images.file_type(path) == ".nrrd":
            for key, text in seg_nrrd.segment_keys(self._names, self._geometry.GetSize()).items():
                image.SetMetaData(key, text)
            images.write_image(image, path, "label map")
            return
        images.write_image(image, path, "label map")
        with whole_or_nothing(sidecar(path)) as temporary:
            names = {str(v): n for v, n in sorted((self._names | self._empty).items())}
            temporary.write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")

    def _like(self, array: NDArray[Any]) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(self._geometry)
        return image


def _check_names(names: Mapping[int, str]) -> None:
    if not names:
        raise AnatomyError("no label value has a name: give names, as {value: name} or {name: value}")
    first: dict[str, int] = {}
    for value, name in names.items():
        if not 0 < value <= 65535:
            raise AnatomyError(
                f"'{name}' has the label value {value}; values run from 1 to 65535, 0 is background"
            )
        if name in first:
            raise AnatomyError(
                f"the label values {first[name]} and {value} are both named '{name}': name each once"
            )
        first[name] = value


def _whole_numbers(image: sitk.Image, names: Mapping[int, str]) -> NDArray[Any]:
    """Voxels as uint8 or uint16 with unnamed values turned to background."""
    array = sitk.GetArrayViewFromImage(image)
    if array.ndim != 3:
        raise AnatomyError(f"a label map has three dimensions, this image has {array.ndim}")
    low, high = float(array.min()), float(array.max())
    if not (np.isfinite(low) and np.isfinite(high)) or low < 0 or high > 65535:
        raise AnatomyError(
            f"label values run from 0 to 65535, this image from {low:g} to {high:g}: is it a scan?"
        )
    whole = array.astype(np.uint16)
    if array.dtype.kind == "f" and not np.array_equal(whole, array):
        raise AnatomyError(
            "the voxels are not whole numbers: this is a scan or a probability map, not a label map"
        )
    keep = np.zeros(int(high) + 1, dtype=np.uint16)
    named = [value for value in names if value <= high]
    keep[named] = named
    dtype = np.uint8 if max(names) <= 255 else np.uint16
    kept: NDArray[Any] = keep.astype(dtype)[whole]
    return kept
