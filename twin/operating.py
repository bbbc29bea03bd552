"""The operative field of a case: live tissue, the vessels it carries, what they feed, and the circulation.

The vessel trees of a case ride on its mesh, and each tetrahedron of the organ that they run through learns which node
of each tree serves it: the territories of `anatomy.vessels`, computed on the label map and read at the centroid of the
tetrahedron. Both are then `solver` data that every act works on.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from anatomy.files import whole_or_nothing
from anatomy.mesh import OrganMesh
from anatomy.progress import Progress, silent
from anatomy.vessels import territories
from anatomy.vessels.liver import WITHIN, whole_liver
from anatomy.vessels.territories import Weighting
from twin.case import Case
from twin.errors import TwinError
from twin.margins import PEDICLED, TUMOUR, find_tumours, organ_of

if TYPE_CHECKING:
    from solver.carried_vessels import CarriedTree
    from solver.field import OperativeField, Process
    from solver.interactive import Interactive

Ints = NDArray[np.int64]

#: Vessel systems that drain the organ; all others feed it.
OUTFLOW = ("hepatic_vein",)


def operative_field(
    case: Case,
    *,
    resting: bool = True,
    gravity_mm_s2: tuple[float, float, float] = (0.0, 9810.0, 0.0),
    weighting: Weighting = "nearest",
    progress: Progress = silent,
) -> OperativeField:
    """Build what a surgeon operates on from a case.

    Parameters
    ----------
    case : Case
    resting : bool
        Whether the organ rests in its scanned shape (see `solver.Interactive`).
    gravity_mm_s2 : (float, float, float)
        In LPS mm/s².
    weighting : {"nearest", "calibre"}
        Which vessel serves tissue, see `anatomy.vessels.territories`.
    progress : Progress

    Raises
    ------
    SolverError
        If the organ cannot be solved for.
    AnatomyError
        If a vessel tree does not run through the organ.
    """
    from solver.body import Body
    from solver.interactive import Interactive

    progress("building the body", 0.0)
    body = Body(case.organ, gravity_mm_s2=gravity_mm_s2)
    live = Interactive(
        body, resting=resting, progress=lambda stage, share: progress(stage, 0.1 + 0.6 * share)
    )
    return with_vessels(live, case, weighting, lambda stage, share: progress(stage, 0.7 + 0.3 * share))


def with_vessels(
    live: Interactive, case: Case, weighting: Weighting = "nearest", progress: Progress = silent
) -> OperativeField:
    """An operative field of live tissue of a case's mesh, with the case's vessels on it."""
    from solver.field import OperativeField

    live.reset()
    organ = live.body.organ
    vessels, serving = carried_vessels(case, organ, weighting, progress)
    data = {**serving, TUMOUR: find_tumours(organ)[1]}
    return OperativeField(live, vessels=vessels, tet_data=data, processes=processes(organ, vessels, serving))


def processes(
    organ: OrganMesh, vessels: Mapping[str, CarriedTree], serving: Mapping[str, Ints]
) -> dict[str, Process]:
    """What goes on from the beginning of every operation: the circulation, where vessels are known.

    Parameters
    ----------
    organ : OrganMesh
        To which nothing has been done.
    vessels, serving : mapping
        As `carried_vessels` returns them.
    """
    from solver.circulation import Circulation

    return {"circulation": Circulation.of(organ, vessels, serving)} if vessels else {}


def carried_vessels(
    case: Case, organ: OrganMesh, weighting: Weighting = "nearest", progress: Progress = silent
) -> tuple[dict[str, CarriedTree], dict[str, Ints]]:
    """The case's vessel trees on a mesh, and the node of each that serves each tetrahedron.

    Parameters
    ----------
    case : Case
    organ : OrganMesh
        The case's mesh in the scanned shape.
    weighting, progress
        As of `operative_field`.

    Returns
    -------
    vessels : dict of str to CarriedTree
        By system; organs that hang on one pedicle and whose vessels the case does not show have one that is nowhere
        to be seen, `solver.carried_vessels.CarriedTree.pedicle`.
    serving : dict of str to ndarray, shape (m,), int64
        By system; −1 for tetrahedra outside the organ that the vessels run through.
    """
    from solver.carried_vessels import CarriedTree

    inside = np.isin(organ.region, [value for value, name in organ.structures.items() if name in WITHIN])
    trees = case.vessels if inside.any() else {}
    vessels, serving = _pedicles(organ, bool(set(trees) - set(OUTFLOW)))
    if not trees:
        return vessels, serving
    for name, tree in trees.items():
        vessels[name] = CarriedTree.embed(
            organ, name, tree.points, tree.radius, tree.parent, outflow=name in OUTFLOW
        )
    return vessels, {**serving, **served(case, weighting, progress)}


def served(case: Case, weighting: Weighting = "nearest", progress: Progress = silent) -> dict[str, Ints]:
    """Node of each of the case's trees that serves each tetrahedron of its mesh, −1 outside the organ, shape (m,).

    Worked out once: it is kept in the case's folder, in a file that says which content of the case it is of.
    """
    file = case.path / f"served_{weighting}.npz"
    known = _kept(file, case)
    if known is not None:
        return known
    organ, mask = case.organ, whole_liver(case.labels)
    inside = np.isin(organ.region, [value for value, name in organ.structures.items() if name in WITHIN])
    if not inside.any():
        # A label map that names the liver's vessels may have been used to mesh another organ.
        return {name: np.full(len(organ.tets), -1, dtype=np.int64) for name in case.vessels}
    centroids = organ.points[organ.tets[inside]].mean(axis=1)
    found: dict[str, Ints] = {}
    for number, (name, tree) in enumerate(case.vessels.items()):
        share = lambda stage, done, first=number: progress(stage, (first + done) / len(case.vessels))  # noqa: E731
        fed = territories(mask, tree, weighting, progress=share)
        found[name] = np.full(len(organ.tets), -1, dtype=np.int64)
        found[name][inside] = _at(fed.node, fed.image, centroids)
    # A case in a place that cannot be written is served all the same, only not as fast the next time.
    with contextlib.suppress(TwinError), whole_or_nothing(file, TwinError) as temporary:
        np.savez_compressed(temporary, case=case.sha256, **found)  # type: ignore[arg-type]
    return found


def _kept(file: Path, case: Case) -> dict[str, Ints] | None:
    """What is kept of a case; None where nothing is, or it is of another content."""
    try:
        with np.load(file) as data:
            if str(data["case"]) != case.sha256:
                return None
            return {name: data[name] for name in data.files if name != "case"}
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None


def _pedicles(organ: OrganMesh, liver_fed: bool) -> tuple[dict[str, CarriedTree], dict[str, Ints]]:
    """All inflow of each organ whose vessels are not known, and the tetrahedra it serves (node 0)."""
    from solver.carried_vessels import CarriedTree, pedicle_of

    vessels, serving = {}, {}
    for name in PEDICLED:
        if name not in organ.structures.values() or (name == "liver" and liver_fed):
            continue
        own = [value for value, structure in organ.structures.items() if organ_of(structure) == name]
        vessels[pedicle_of(name)] = CarriedTree.pedicle(pedicle_of(name))
        serving[pedicle_of(name)] = np.where(np.isin(organ.region, own), 0, -1)
    return vessels, serving


def _at(node: NDArray[np.int32], image: sitk.Image, points: NDArray[np.float64]) -> Ints:
    """Node at points (k, 3) LPS mm of an image; at a point outside the organ, that of its nearest voxel."""
    direction = np.array(image.GetDirection()).reshape(3, 3)
    index = ((points - image.GetOrigin()) @ direction) / np.asarray(image.GetSpacing())
    nearest = np.rint(index).astype(np.int64)[:, ::-1]
    within = ((nearest >= 0) & (nearest < node.shape)).all(axis=1)
    found = np.full(len(points), -1, dtype=np.int64)
    found[within] = node[tuple(nearest[within].T)]
    lost = np.flatnonzero(found < 0)
    if len(lost):
        places = np.argwhere(node >= 0)
        spacing = np.asarray(image.GetSpacing())[::-1]
        row = cKDTree(places * spacing).query(index[lost][:, ::-1] * spacing)[1]
        found[lost] = node[tuple(places[row].T)]
    return found
