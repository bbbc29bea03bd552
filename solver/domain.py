"""Domain: an organ as DOLFINx sees it: its mesh, its linear spaces, and the maps to and from the OrganMesh order.

DOLFINx reorders vertices and cells, and on several processes each keeps its part. To build a domain takes longer than a
frame of the live tier, which has no use for it; a `Body` therefore builds its own when a form first asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh
from solver.backend import basix, fem, mesh, ufl
from solver.errors import SolverError
from solver.processes import Processes

Array = NDArray[np.float64]
Index = NDArray[np.int64]


class Domain:
    """The mesh of the equations.

    Parameters
    ----------
    organ : OrganMesh
    points : ndarray, shape (n, 3), float64
        Stress-free vertex positions, OrganMesh order, mm.
    processes : Processes

    Attributes
    ----------
    mesh : dolfinx.mesh.Mesh
        Linear tetrahedra of the stress-free shape; of several processes, this one's part.
    space, cell_space : dolfinx.fem.FunctionSpace
        Continuous linear vectors, and cell-wise constants, on `mesh`.
    tet_of_cell, cell_of_tet : ndarray, int64
        Tetrahedron of the organ each cell is, and the cell of each tetrahedron, −1 where another process has it.
    vertex_of_node, vertex_of_dof, dof_of_vertex : ndarray, int64
        The same of vertices, in the order of the mesh's geometry and of `space`.
    """

    def __init__(self, organ: OrganMesh, points: Array, processes: Processes) -> None:
        self.processes = processes
        element = basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,))
        # Nothing here integrates over inner facets, so no cell is needed twice.
        partition: Any = mesh.create_cell_partitioner
        self.mesh = mesh.create_mesh(
            processes.comm,
            organ.tets[processes.part(len(organ.tets))],
            ufl.Mesh(element),
            points[processes.part(len(points))],
            partition(mesh.GhostMode.none, 2),
        )
        self.space = fem.functionspace(self.mesh, ("Lagrange", 1, (3,)))
        self.cell_space = fem.functionspace(self.mesh, ("DG", 0))
        self.tet_of_cell = np.asarray(self.mesh.topology.original_cell_index, dtype=np.int64)
        self.cell_of_tet = np.full(len(organ.tets), -1, dtype=np.int64)
        self.cell_of_tet[self.tet_of_cell] = np.arange(len(self.tet_of_cell))
        self.vertex_of_node = np.asarray(self.mesh.geometry.input_global_indices, dtype=np.int64)
        node_of_dof = np.empty(len(self.vertex_of_node), dtype=np.int64)
        node_of_dof[self.space.dofmap.list.ravel()] = self.mesh.geometry.dofmaps[0].ravel()
        self.vertex_of_dof = self.vertex_of_node[node_of_dof]
        self.dof_of_vertex = np.full(len(points), -1, dtype=np.int64)
        self.dof_of_vertex[self.vertex_of_dof] = np.arange(len(self.vertex_of_dof))

    def to_organ(self, values: NDArray[Any]) -> NDArray[Any]:
        """Vertex values from the order of `space` to OrganMesh order.

        Parameters
        ----------
        values : ndarray, shape (3 n,), (n,) or (n, d)
            Flat arrays of 3 n entries (`Function.x.array` of `space`) become (n, 3).
        """
        n = len(self.vertex_of_dof)
        rows = values.reshape(n, -1) if values.size == 3 * n else values
        return self._scattered(rows, self.vertex_of_dof, self.space.dofmap.index_map.size_local)

    def _scattered(self, rows: NDArray[Any], place: Index, owned: int) -> NDArray[Any]:
        """The rows this process owns, put in their places among those of the others."""
        length = int(self.processes.total(owned))
        whole = np.zeros((length, *rows.shape[1:]), dtype=rows.dtype)
        whole[place[:owned]] = rows[:owned]
        return self.processes.whole(whole)

    def from_organ(self, values: Array) -> Array:
        """Vertex values, shape (n,) or (n, d), from OrganMesh order to the order of `space`."""
        return np.ascontiguousarray(np.asarray(values)[self.vertex_of_dof])

    def cells_to_organ(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the cells of `mesh`, shape (m, …), in the order of the organ's tetrahedra."""
        return self._scattered(np.asarray(values), self.tet_of_cell, len(self.tet_of_cell))

    def cells_from_organ(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the organ's tetrahedra, shape (m, …), in the order of the cells of `mesh`."""
        return np.ascontiguousarray(np.asarray(values)[self.tet_of_cell])

    def facet_domains(
        self, patches: list[tuple[int, Index]], count: int
    ) -> list[tuple[int, NDArray[np.int32]]]:
        """Integration entities of numbered patches of exterior triangles, given by vertices out of `count`.

        Of several processes, each gives those of its own cells.
        """
        topology = self.mesh.topology
        topology.create_entities(2)
        topology.create_connectivity(2, 3)
        topology.create_connectivity(3, 2)
        exterior = mesh.exterior_facet_indices(topology)
        nodes = mesh.entities_to_geometry(self.mesh, 2, exterior)
        keys = facet_keys(self.vertex_of_node[nodes], count)
        order = np.argsort(keys)
        domains = []
        for number, facets in patches:
            wanted = facet_keys(facets, count)
            found = exterior[order[np.searchsorted(keys[order], wanted[np.isin(wanted, keys)])]]
            entities = fem.compute_integration_domains(
                fem.IntegralType.exterior_facet, topology, np.sort(found).astype(np.int32)
            )
            domains.append((number, np.asarray(entities).ravel()))
        return domains


def facet_keys(facets: Index, count: int) -> Index:
    """One number for each triangle of vertices out of `count`, whatever the order of its vertices."""
    a, b, c = np.sort(np.asarray(facets, dtype=np.int64).reshape(-1, 3), axis=1).T
    return (a * count + b) * count + c


def check_outside(organ: OrganMesh, patches: Iterable[tuple[str, Index]]) -> None:
    """Refuse named patches of triangles that are not all on the outer surface of an organ.

    Raises
    ------
    SolverError
        Says how many are not.
    """
    count = len(organ.points)
    keys = np.sort(facet_keys(organ.exterior, count))
    for name, facets in patches:
        wanted = facet_keys(facets, count)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        outside = int((keys[at] != wanted).sum())
        if outside:
            raise SolverError(
                f"{outside} facets of the patch '{name}' are not on the outer surface of the organ; "
                "choose them from OrganMesh.exterior."
            )
