"""OrganMesh: one conforming tetrahedral mesh of several tissues, in the DICOM patient frame.

Contract: `points` are millimetres in LPS (x to the patient's left, y posterior, z superior). Every
tetrahedron has positive volume and belongs to one region; two tetrahedra meet in a whole facet, edge or
vertex or not at all, also across regions. Facets are derived, never stored: a facet that belongs to one
tetrahedron is exterior, one whose two tetrahedra differ in region is an interface.

On disk a mesh is one VTK XML file (.vtu): tetrahedra, cell data `region`, and as field data two JSON strings,
`structures` (names by region value) and `report`. It opens in ParaView and 3D Slicer as it is.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from anatomy.errors import AnatomyError
from anatomy.files import whole_or_nothing

if TYPE_CHECKING:
    from vtkmodules.vtkCommonDataModel import vtkUnstructuredGrid

# Local vertex triples of the four facets of a positive tetrahedron, wound so that the normal points outward;
# facet i lies opposite vertex i.
FACETS_OF_TET = np.array([[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]])


@dataclass(frozen=True, eq=False)
class OrganMesh:
    """A conforming multi-tissue tetrahedral mesh.

    Parameters
    ----------
    points : ndarray, shape (n, 3), float64
        Vertex positions in millimetres, LPS.
    tets : ndarray, shape (m, 4), int64
        Vertex indices, positively oriented.
    region : ndarray, shape (m,), uint8
        Label value of each tetrahedron; a key of `structures`.
    structures : dict of int to str
        Structure name of each label value.
    report : dict
        What the mesher measured: JSON-ready, empty for meshes that were not made from a label map.

    Raises
    ------
    AnatomyError
        If shapes disagree, an index or a region is unknown, or a tetrahedron is flat or inverted.
    """

    points: NDArray[np.float64]
    tets: NDArray[np.int64]
    region: NDArray[np.uint8]
    structures: Mapping[int, str]
    report: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        set_field = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731 - frozen
        set_field("points", np.ascontiguousarray(self.points, dtype=np.float64))
        set_field("tets", np.ascontiguousarray(self.tets, dtype=np.int64))
        set_field("region", np.ascontiguousarray(self.region, dtype=np.uint8))
        set_field("structures", {int(k): str(v) for k, v in self.structures.items()})
        self._check()

    def _check(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3 or not len(self.points):
            raise AnatomyError(f"Mesh points have shape {self.points.shape}; give (n, 3) millimetres.")
        if self.tets.ndim != 2 or self.tets.shape[1] != 4 or not len(self.tets):
            raise AnatomyError(f"Mesh tetrahedra have shape {self.tets.shape}; give (m, 4) vertex indices.")
        if self.region.shape != (len(self.tets),):
            raise AnatomyError(f"{len(self.tets)} tetrahedra but {self.region.size} regions; give one each.")
        if self.tets.min() < 0 or self.tets.max() >= len(self.points):
            raise AnatomyError(f"A tetrahedron names a vertex outside 0…{len(self.points) - 1}.")
        if not np.isfinite(self.points).all():
            raise AnatomyError("Mesh points contain values that are not finite.")
        unknown = set(np.unique(self.region).tolist()) - set(self.structures)
        if unknown:
            raise AnatomyError(f"Regions {sorted(unknown)} have no structure name.")
        bad = int((self.tet_volumes <= 0).sum())
        if bad:
            raise AnatomyError(
                f"{bad} of {len(self.tets)} tetrahedra are flat or inverted; reverse two vertices of each, "
                "or mesh anew."
            )

    @cached_property
    def tet_volumes(self) -> NDArray[np.float64]:
        """Signed volume of each tetrahedron, mm³, shape (m,)."""
        a, b, c, d = (self.points[self.tets[:, i]] for i in range(4))
        return np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a)) / 6.0

    @cached_property
    def volumes_ml(self) -> dict[str, float]:
        """Volume of each structure in millilitres, by name; 0 for a structure without tetrahedra."""
        mm3 = np.bincount(self.region, weights=self.tet_volumes, minlength=256)
        return {name: float(mm3[value]) / 1000.0 for value, name in self.structures.items()}

    def value_of(self, structure: str) -> int:
        """Label value of a structure name.

        Raises
        ------
        AnatomyError
            If the mesh has no such structure.
        """
        for value, name in self.structures.items():
            if name == structure:
                return value
        known = ", ".join(self.structures.values())
        raise AnatomyError(f"The mesh has no structure '{structure}'; it has {known}.")

    def tets_of(self, structure: str) -> NDArray[np.int64]:
        """Indices of the tetrahedra of a structure, shape (k,)."""
        return np.flatnonzero(self.region == self.value_of(structure))

    def vertices_of(self, structure: str) -> NDArray[np.int64]:
        """Indices of the vertices of a structure's tetrahedra, sorted, shape (k,)."""
        return np.unique(self.tets[self.tets_of(structure)])

    @cached_property
    def exterior(self) -> NDArray[np.int64]:
        """Triangles of the outer surface, shape (k, 3), wound so that normals point out of the tissue."""
        return self._outer[0]

    @cached_property
    def exterior_tets(self) -> NDArray[np.int64]:
        """Tetrahedron behind each triangle of `exterior`, shape (k,)."""
        return self._outer[1]

    def surface_of(self, structure: str) -> NDArray[np.int64]:
        """Triangles (k, 3) around a structure, normals out of it: its exterior and its interfaces."""
        inside = self.region == self.value_of(structure)
        return unpaired_facets(self.tets[inside])[0]

    def interface(self, first: str, second: str) -> NDArray[np.int64]:
        """Triangles (k, 3) between two structures, normals from `first` to `second`."""
        a, b = self.surface_of(first), self.surface_of(second)
        ranked = np.sort(np.concatenate([a, b]), axis=1)
        _, key, count = np.unique(ranked, axis=0, return_inverse=True, return_counts=True)
        return a[count[key.reshape(-1)[: len(a)]] == 2]

    @cached_property
    def _outer(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        return unpaired_facets(self.tets)

    def write(self, path: str | Path) -> None:
        """Write the mesh as a VTK XML file; the file appears whole or not at all.

        Parameters
        ----------
        path : str or Path
            Ends in .vtu; its folder must exist.

        Raises
        ------
        AnatomyError
            If the name does not end in .vtu, or the file cannot be written (no folder, no right, disk full).
        """
        from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridWriter

        path = Path(path)
        _check_suffix(path)
        grid = _to_grid(self)
        with whole_or_nothing(path) as temporary, quiet_vtk():
            writer = vtkXMLUnstructuredGridWriter()
            writer.SetFileName(str(temporary))
            writer.SetInputData(grid)
            writer.SetDataModeToAppended()
            writer.EncodeAppendedDataOff()
            writer.SetCompressorTypeToZLib()
            if not writer.Write() or writer.GetErrorCode():
                raise AnatomyError(
                    f"The mesh could not be written to '{path}': the disk is full, or the folder is not yours; "
                    "free some space or choose another place."
                )

    @staticmethod
    def read(path: str | Path) -> OrganMesh:
        """Read a mesh written by `write`, or any .vtu of linear tetrahedra that carries the same data.

        Raises
        ------
        AnatomyError
            If the file is missing, is damaged, holds other cells than tetrahedra, lacks `region` or
            `structures`, or is no valid mesh.
        """
        from vtkmodules.vtkIOXML import vtkXMLUnstructuredGridReader

        path = Path(path)
        _check_suffix(path)
        if not path.is_file():
            raise AnatomyError(f"There is no mesh file '{path}'; check the name.")
        reader = vtkXMLUnstructuredGridReader()
        reader.SetFileName(str(path))
        with quiet_vtk():
            reader.Update()
        if reader.GetErrorCode() or not reader.GetOutput().GetNumberOfCells():
            raise AnatomyError(f"'{path}' is not a readable .vtu mesh (damaged or empty); write it anew.")
        try:
            return _from_grid(reader.GetOutput())
        except AnatomyError as error:
            raise AnatomyError(f"'{path}': {error}") from None


def unpaired_facets(tets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Facets of tetrahedra that belong to exactly one of them: their outer surface.

    Parameters
    ----------
    tets : ndarray, shape (m, 4), int64
        Positively oriented tetrahedra.

    Returns
    -------
    facets : ndarray, shape (k, 3), int64
        Triangles, normals outward, in the order of their tetrahedra.
    behind : ndarray, shape (k,), int64
        Row of the tetrahedron behind each.
    """
    facets = tets[:, FACETS_OF_TET].reshape(-1, 3)
    if not len(facets):
        return facets, np.zeros(0, dtype=np.int64)
    ranked = np.sort(facets, axis=1)
    count = int(tets.max()) + 1
    # One whole number a facet sorts faster than three; it fits while count³ does.
    keys = (ranked[:, 0] * count + ranked[:, 1]) * count + ranked[:, 2] if count < 2_000_000 else None
    order = np.lexsort(ranked.T[::-1]) if keys is None else np.argsort(keys, kind="stable")
    ranked = ranked[order]
    same_as_next = np.r_[(ranked[1:] == ranked[:-1]).all(axis=1), False]
    same_as_last = np.r_[False, same_as_next[:-1]]
    alone = np.sort(order[~(same_as_next | same_as_last)])
    return facets[alone], alone // 4


def _check_suffix(path: Path) -> None:
    if path.suffix.lower() != ".vtu":
        raise AnatomyError(f"'{path}' is no name for a mesh file; it must end in .vtu.")


@contextlib.contextmanager
def quiet_vtk() -> Iterator[None]:
    """Keep VTK from printing its own errors; ours say what to do."""
    from vtkmodules.vtkCommonCore import vtkObject

    before = vtkObject.GetGlobalWarningDisplay()
    vtkObject.GlobalWarningDisplayOff()
    try:
        yield
    finally:
        vtkObject.SetGlobalWarningDisplay(before)


def _to_grid(mesh: OrganMesh) -> vtkUnstructuredGrid:
    from vtkmodules.util.numpy_support import numpy_to_vtk, numpy_to_vtkIdTypeArray
    from vtkmodules.vtkCommonCore import vtkPoints, vtkStringArray
    from vtkmodules.vtkCommonDataModel import VTK_TETRA, vtkCellArray, vtkUnstructuredGrid

    grid = vtkUnstructuredGrid()
    points = vtkPoints()
    points.SetData(numpy_to_vtk(mesh.points, deep=True))
    grid.SetPoints(points)
    cells = vtkCellArray()
    offsets = np.arange(0, 4 * len(mesh.tets) + 1, 4, dtype=np.int64)
    cells.SetData(
        numpy_to_vtkIdTypeArray(offsets, deep=True), numpy_to_vtkIdTypeArray(mesh.tets.reshape(-1), deep=True)
    )
    grid.SetCells(VTK_TETRA, cells)
    region = numpy_to_vtk(mesh.region, deep=True)
    region.SetName("region")
    grid.GetCellData().SetScalars(region)
    for name, content in (("structures", mesh.structures), ("report", mesh.report)):
        text = vtkStringArray()
        text.SetName(name)
        text.InsertNextValue(json.dumps(dict(content)))
        grid.GetFieldData().AddArray(text)
    return grid


def _from_grid(grid: vtkUnstructuredGrid) -> OrganMesh:
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkCommonDataModel import VTK_TETRA

    if not grid.IsHomogeneous() or grid.GetCellType(0) != VTK_TETRA:
        raise AnatomyError("The file holds other cells than linear tetrahedra; convert it first.")
    region = grid.GetCellData().GetArray("region")
    if region is None:
        raise AnatomyError("The file has no cell data 'region' that says what each tetrahedron belongs to.")
    structures = {int(value): name for value, name in (_json_of(grid, "structures") or {}).items()}
    if not structures:
        raise AnatomyError("The file has no field data 'structures' that names the regions.")
    return OrganMesh(
        vtk_to_numpy(grid.GetPoints().GetData()),
        vtk_to_numpy(grid.GetCells().GetConnectivityArray()).reshape(-1, 4),
        vtk_to_numpy(region),
        structures,
        _json_of(grid, "report") or {},
    )


def _json_of(grid: vtkUnstructuredGrid, name: str) -> dict[str, Any] | None:
    text = grid.GetFieldData().GetAbstractArray(name)
    if text is None or not text.GetNumberOfValues():
        return None
    try:
        content = json.loads(str(text.GetValue(0)))
    except ValueError:
        raise AnatomyError(f"The field data '{name}' is not JSON; write the mesh anew.") from None
    return content if isinstance(content, dict) else None
