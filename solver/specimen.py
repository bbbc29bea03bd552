"""Specimen: a piece that was taken out, and how a change of topology is divided into what stays and what goes.

What an act takes out goes, and so does every other piece that nothing holds any more: no attachment and no tool keeps
it from moving as a whole (`solver.support`), so that it has no equilibrium. Each becomes a mesh of its own, with the
shape it had at that moment and all that was known of it. Volume is kept: what stays and what goes are the whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.body import Body
from solver.cutting import pieces, without
from solver.errors import SolverError
from solver.support import unheld_pieces
from solver.topology import TopologyChange

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Specimen:
    """A piece that was taken out.

    Parameters
    ----------
    organ : OrganMesh
        The piece in the scanned shape, mm, LPS.
    displacement : ndarray, shape (n, 3), float64
        From there to where it was when it was taken out, mm.
    time_s : float
        Time of the rehearsal.
    tet_data, vertex_data : mapping of str to ndarray
        The field's data at that moment.
    """

    organ: OrganMesh
    displacement: Array
    time_s: float
    tet_data: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    vertex_data: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def volume_ml(self) -> float:
        """Volume in the scanned shape, ml."""
        return float(self.organ.tet_volumes.sum()) / 1000.0


@dataclass(frozen=True, eq=False)
class Division:
    """What stays and what goes.

    Parameters
    ----------
    change : TopologyChange
        From the present mesh to what stays of it.
    body : Body
        Of what stays.
    whole : TopologyChange or None
        From the present mesh to all pieces, those that go included; None where nothing was cut.
    gone : ndarray, shape (m,), int64
        Number of the piece each tetrahedron of all pieces goes with, −1 where it stays.
    """

    change: TopologyChange
    body: Body
    whole: TopologyChange | None
    gone: Ints


def divide(
    body: Body, change: TopologyChange | None, taken: NDArray[np.bool_] | None, held: Ints
) -> Division | None:
    """Divide a body into what stays and what goes.

    Parameters
    ----------
    body : Body
    change : TopologyChange or None
        A cut of its organ; None where nothing is cut.
    taken : ndarray of bool or None, shape (m',)
        Tetrahedra, after the cut, that are taken out.
    held : ndarray of int64
        Vertices of `body.organ` that tools hold.

    Returns
    -------
    Division or None
        None where nothing changes.

    Raises
    ------
    SolverError
        If nothing would stay.
    """
    after = body if change is None else body.changed(change)
    goes = np.zeros(len(after.organ.tets), dtype=bool) if taken is None else taken.copy()
    if goes.all():
        raise SolverError("This would take the whole organ out; leave a part of it.")
    held = held if change is None else change.carried_between(held)
    stays, removal = after, None
    # What is taken out may have held something else, which then goes as well.
    while True:
        if removal is None and goes.any():
            removal = without(after.organ, goes)
            stays = after.changed(removal)
        still = held if removal is None else removal.vertices(held)
        # A cut that parts nothing lets nothing loose.
        parted = removal is not None or change is None or stays.components.max() > body.components.max()
        loose = unheld_pieces(stays, still) if parted else np.zeros(0, dtype=np.int64)
        if not len(loose):
            break
        free = np.isin(stays.components[stays.organ.tets[:, 0]], loose)
        if free.all():
            raise SolverError(
                "Nothing would hold what is left of the organ: no attachment and no tool; hold it first, or cut "
                "so that a part stays attached."
            )
        goes[np.flatnonzero(~goes)[free]] = True
        removal = None
    if removal is None:
        return None if change is None else Division(change, stays, change, np.full(len(goes), -1))
    number = np.full(len(goes), -1, dtype=np.int64)
    number[goes] = pieces(_part(after.organ, goes)[0])
    return Division(removal if change is None else change.then(removal), stays, change, number)


def specimens_of(
    division: Division,
    displacement: Array,
    time_s: float,
    tet_data: Mapping[str, NDArray[Any]],
    vertex_data: Mapping[str, NDArray[Any]],
) -> tuple[Specimen, ...]:
    """The pieces that go, the largest first.

    Parameters
    ----------
    division : Division
    displacement : ndarray, shape (n, 3), float64
        Of the vertices of the present mesh from the scanned shape, mm.
    time_s : float
    tet_data, vertex_data : mapping of str to ndarray
        On the present mesh.
    """
    whole = division.whole
    organ = division.change.before if whole is None else whole.after
    of_vertices = (lambda values: values) if whole is None else whole.interpolate
    of_tets = (lambda values: values) if whole is None else whole.of_tets
    moved = of_vertices(displacement)
    tets = {name: of_tets(values) for name, values in tet_data.items()}
    vertices = {name: of_vertices(values) for name, values in vertex_data.items()}
    found = []
    for piece in range(int(division.gone.max()) + 1):
        mine = division.gone == piece
        part, used = _part(organ, mine)
        found.append(
            Specimen(
                part,
                moved[used],
                time_s,
                {name: values[mine] for name, values in tets.items()},
                {name: values[used] for name, values in vertices.items()},
            )
        )
    return tuple(found)


def _part(organ: OrganMesh, mine: NDArray[np.bool_]) -> tuple[OrganMesh, Ints]:
    """Some tetrahedra as a mesh of their own, and the vertices they use."""
    used, local = np.unique(organ.tets[mine], return_inverse=True)
    part = OrganMesh(
        organ.points[used], local.reshape(-1, 4), organ.region[mine], organ.structures, organ.report
    )
    return part, used
