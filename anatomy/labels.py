"""LabelMap: one image of whole numbers, and the structure each number stands for.

Contract: the image is three-dimensional, LPS millimetres, unsigned integers; 0 is background. `names` maps
every value that occurs in at least one voxel to its structure, under the vocabulary's name where it has one
and under the given name otherwise. A value that was named but occurs nowhere is kept in `empty`, so
that asking for it can say so; a value that occurs but was not named becomes background on reading.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from anatomy import images, structures
from anatomy.errors import AnatomyError
from anatomy.files import whole_or_nothing

_SEGMENT = re.compile(r"^Segment(\d+)_(Name|ID|LabelValue)$")


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
        self.warnings: list[str] = list(warnings)

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
        both = f"label map {images.describe_grid(self._geometry)}; scan {images.describe_grid(image)}"
        if images.alike_grid(self._geometry, image):
            raise AnatomyError(
                f"the label map stores the scan's voxels in another order: use matched_to(scan). {both}"
            )
        raise AnatomyError(
            f"the label map lies on another grid than the scan: label the scan itself, or resample the map "
            f"first. {both}"
        )

    def matched_to(self, scan: Any) -> LabelMap:
        """This map in the scan's own voxel order.

        A map that stores the same voxels flipped or with permuted axes is brought over by its geometry
        (nearest voxel, which is exact here), never by array order.

        Raises
        ------
        AnatomyError
            If the voxels of both do not coincide.
        """
        image = scan if isinstance(scan, sitk.Image) else scan.image
        if images.same_grid(self._geometry, image):
            return self
        if not images.alike_grid(self._geometry, image):
            self.check_grid(image)
        moved = sitk.Resample(self.image, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
        return LabelMap(moved, self._names | self._empty, self.confidence, self.warnings)

    @classmethod
    def read(cls, path: str | Path, names: Mapping[Any, Any] | str | Path | None = None) -> LabelMap:
        """Read a label map from NIfTI, NRRD or MHA.

        Parameters
        ----------
        path : str or Path
            The label image. Floating-point images are accepted when every voxel is a whole number.
        names : mapping, str or Path, optional
            {value: name} or {name: value}, or a JSON file of either. Without it, names come from a JSON file
            beside the image (`labels.json` beside `labels.nii.gz`), else from the file's own header
            (organtwin's or 3D Slicer's segment keys).

        Raises
        ------
        AnatomyError
            If the file cannot be read, or names are missing, malformed or cover no voxel.
        """
        path = Path(path)
        image = images.read_image(path, "label map")
        try:
            return cls(image, _names_for(path, image, names))
        except AnatomyError as error:
            raise AnatomyError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def write(self, path: str | Path) -> None:
        """Write compressed, whole or not at all.

        NRRD carries the names in its header as 3D Slicer's segment keys (name it `.seg.nrrd` to have Slicer
        load it as a segmentation); NIfTI and MHA get a JSON file {value: name} beside them.

        Raises
        ------
        AnatomyError
            If the type is unknown or the file cannot be written whole.
        """
        path = Path(path)
        image = sitk.Image(self.image)
        if images.file_type(path) == ".nrrd":
            for key, text in self._segment_keys().items():
                image.SetMetaData(key, text)
            images.write_image(image, path, "label map")
            return
        images.write_image(image, path, "label map")
        with whole_or_nothing(_sidecar(path)) as temporary:
            names = {str(v): n for v, n in sorted((self._names | self._empty).items())}
            temporary.write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")

    def _like(self, array: NDArray[Any]) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.CopyInformation(self._geometry)
        return image

    def _segment_keys(self) -> dict[str, str]:
        """Header entries as 3D Slicer writes them to .seg.nrrd (Slicer developer guide, 'Segmentations')."""
        last = [n - 1 for n in self._geometry.GetSize()]
        extent = f"0 {last[0]} 0 {last[1]} 0 {last[2]}"
        keys = {
            "Segmentation_MasterRepresentation": "Binary labelmap",
            "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
            "Segmentation_ReferenceImageExtentOffset": "0 0 0",
        }
        for index, (value, name) in enumerate(sorted(self._names.items())):
            known = structures.lookup(name)
            colour = known.colour if known else (128, 174, 128)
            keys |= {
                f"Segment{index}_ID": name,
                f"Segment{index}_Name": name,
                f"Segment{index}_NameAutoGenerated": "0",
                f"Segment{index}_LabelValue": str(value),
                f"Segment{index}_Layer": "0",
                f"Segment{index}_Color": " ".join(f"{c / 255:.6f}" for c in colour),
                f"Segment{index}_ColorAutoGenerated": "0",
                f"Segment{index}_Extent": extent,
            }
        return keys


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


def _names_for(path: Path, image: sitk.Image, given: Mapping[Any, Any] | str | Path | None) -> dict[int, str]:
    if isinstance(given, Mapping):
        return _value_to_name(given, "names")
    if given is not None:
        return _read_names(Path(given))
    if _sidecar(path).is_file():
        return _read_names(_sidecar(path))
    names = _header_names(image)
    if not names:
        raise AnatomyError(
            f"{path} does not say which structure each label is: put {_sidecar(path).name} "
            '({"1": "liver", …}) beside it, or give names'
        )
    return names


def _sidecar(path: Path) -> Path:
    kind = images.file_type(path) or path.suffix
    return path.with_name(path.name[: len(path.name) - len(kind)] + ".json")


def _read_names(path: Path) -> dict[int, str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise AnatomyError(f"cannot read the label names in {path}: {error.strerror}") from error
    except ValueError as error:
        raise AnatomyError(f"{path} is not JSON ({error}): write it as {{value: name}}") from error
    if not isinstance(content, Mapping):
        raise AnatomyError(f'{path} must hold {{value: name}} or {{name: value}}, such as {{"1": "liver"}}')
    return _value_to_name(content, str(path))


def _value_to_name(content: Mapping[Any, Any], where: str) -> dict[int, str]:
    """{value: name} from either direction; background entries (value 0) are left out."""
    names: dict[int, str] = {}
    for key, item in content.items():
        value, name = (key, item) if _is_whole(key) else (item, key)
        if not _is_whole(value) or not isinstance(name, str) or not name.strip():
            raise AnatomyError(f"{where}: '{key}: {item}' is no pair of a label value and a structure name")
        if int(value) in names:
            raise AnatomyError(
                f"{where}: the label value {int(value)} is named twice, '{names[int(value)]}' and '{name}'"
            )
        if int(value) != 0:
            names[int(value)] = name
    return names


def _is_whole(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().isdecimal()
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _header_names(image: sitk.Image) -> dict[int, str]:
    """Names from 3D Slicer's segment keys; the name a person gave wins over the ID where the two differ."""
    segments: dict[str, dict[str, str]] = {}
    for key in image.GetMetaDataKeys():
        match = _SEGMENT.match(key)
        if match:
            segments.setdefault(match[1], {})[match[2]] = image.GetMetaData(key)
    names: dict[int, str] = {}
    for segment in segments.values():
        name = segment.get("Name") or segment.get("ID", "")
        if name and _is_whole(segment.get("LabelValue", "")):
            names[int(segment["LabelValue"])] = name
    return names
