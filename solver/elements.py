"""Elements: how displacement and pressure are interpolated, and the equations that follow.

"P2-P1"        Taylor–Hood: quadratic displacement, linear pressure, perturbed Lagrangian (Taylor & Hood 1973,
               Comput Fluids 1:73); the reference, free of locking.
"P2", "P1"     quadratic or linear displacement alone, U(J) at every quadrature point. P1 locks.
"P1-averaged"  linear displacement, change of volume averaged over the tetrahedra around a vertex
               (`solver.averaging`): the discretisation of the live tier. Its tangent couples second
               neighbours; written with the vertex pressures as unknowns, K du + Cᵀdp = −r, C du − D dp = 0
               with the diagonal D = V/K, it stays as sparse as that of a linear mixed element, and
               eliminating dp gives exactly the tangent of the averaged energy.

All unknowns of an element form one vector: displacement first. Displacements at organ vertices come and go
through one sparse interpolation matrix, so that a prescribed patch holds the midpoints of its edges as well
and reactions return to the vertices with the work they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, csr_matrix, diags_array

from solver.backend import basix, compile_expression, compile_form, fem, la, ufl
from solver.body import Body, Volumetric
from solver.errors import SolverError
from solver.loads import Load
from solver.locking import check_no_locking

Array = NDArray[np.float64]
Index = NDArray[np.int64]
ElementName = Literal["P2-P1", "P2", "P1", "P1-averaged"]

# Quadrature: P2 displacement alone is integrated with the four points that other codes' quadratic tetrahedra
# use; the mixed form needs more, for p J is of degree four and more.
DEGREE: dict[str, int | None] = {"P2-P1": 4, "P2": 2, "P1": None, "P1-averaged": None}


_CORNERS = np.vstack([np.zeros(3), np.eye(3)])
CORNERS_AND_MIDPOINTS = np.vstack(
    [_CORNERS, [(_CORNERS[a] + _CORNERS[b]) / 2 for a, b in combinations(range(4), 2)]]
)


class Element:
    """Equations of a body with one kind of element.

    Parameters
    ----------
    body : Body
    name : {"P2-P1", "P2", "P1"}
    loads : sequence of Load

    Attributes
    ----------
    unknowns : int
        Length of the vector of unknowns.
    displacements : ndarray of int
        Where its displacement components are, grouped by node, shape (nodes, 3).
    interpolation : scipy.sparse.csr_matrix, shape (nodes, n)
        From values at organ vertices to values at nodes.
    share : dolfinx.fem.Constant
        Part of the surface loads that acts.
    bound : list
        What adds to the assembled forces beside the forms (`solver.contact`).
    """

    def __init__(self, body: Body, name: ElementName, loads: Sequence[Load] = ()) -> None:
        self.body, self.name, self.loads = body, name, tuple(loads)
        self.share = fem.Constant(body.mesh, 1.0)
        self.symmetric = all(load.conservative for load in loads)
        self._build_space()
        self._build_forms(loads)
        self.unknowns = self.state.x.array.size
        self.bound = [load.bind(self) for load in loads if hasattr(load, "bind")]

    def _build_space(self) -> None:
        cell = self.body.mesh.basix_cell()
        order = 1 if self.name.startswith("P1") else 2
        vector = basix.ufl.element("Lagrange", cell, order, shape=(3,))
        if self.name == "P2-P1":
            scalar = basix.ufl.element("Lagrange", cell, 1)
            space = fem.functionspace(self.body.mesh, basix.ufl.mixed_element([vector, scalar]))
            collapsed, parent = space.sub(0).collapse()
            pressures, pressure_parent = space.sub(1).collapse()
            self._pressure_parent = np.asarray(pressure_parent)
            self._pressure_vertex = _vertex_of_scalar_dof(self.body, pressures)
        else:
            space = collapsed = fem.functionspace(self.body.mesh, vector)
            parent = [np.arange(space.dofmap.index_map.size_local * 3, dtype=np.int32)]
        self.space = space
        self.state = fem.Function(space)
        self.displacements = np.asarray(parent, dtype=np.int64).reshape(-1, 3)
        self.interpolation = _interpolation(self.body, collapsed, order)

    def _build_forms(self, loads: Sequence[Load]) -> None:
        body, degree = self.body, DEGREE[self.name]
        if self.name == "P2-P1":
            u, pressure = ufl.split(self.state)
            mode: tuple[Any, Volumetric] = (pressure, "mixed")
        else:
            u = self.state
            mode = (None, "averaged" if self.name == "P1-averaged" else "exact")
        energy = body.energy(u, *mode, degree)
        test, trial = ufl.TestFunction(self.space), ufl.TrialFunction(self.space)
        residual = ufl.derivative(energy + self._extra_energy(u), self.state, test)
        v = ufl.split(test)[0] if self.name == "P2-P1" else test
        for load in loads:
            work = load.virtual_work(body, u, v, self.share)
            residual = residual - work if work else residual
        self._energy = compile_form(body.stored_energy(u, *mode, degree))
        self._residual = compile_form(residual)
        self._tangent = compile_form(ufl.derivative(residual, self.state, trial))
        self._matrix = fem.create_matrix(self._tangent, block_mode=la.BlockMode.expanded)
        points = np.asarray(basix.make_quadrature(basix.CellType.tetrahedron, degree or 1)[0])
        self._quadrature_points = len(points)
        # J of a quadratic displacement is cubic: it can be negative at a corner and positive inside.
        points = np.vstack([points, CORNERS_AND_MIDPOINTS])
        self._jacobian = compile_expression(ufl.det(ufl.Identity(3) + ufl.grad(u)), points)
        cells = self.body.mesh.topology.index_map(3).size_local
        self._cells = np.arange(cells, dtype=np.int32)

    def _extra_energy(self, u: Any) -> Any:
        return 0

    # ------------------------------------------------------------------ equations

    def residual(self, x: Array) -> Array:
        """Out-of-balance force of every unknown, mN (mm³ for pressures), shape (unknowns,)."""
        self.state.x.array[:] = x
        self._update(x)
        force = np.array(fem.assemble_vector(self._residual).array)
        for bound in self.bound:
            force += bound.force(x)
        return force

    def tangent(self, x: Array) -> csr_matrix:
        """Derivative of the residual, shape (unknowns, unknowns), or larger where it is augmented."""
        self.state.x.array[:] = x
        self._update(x)
        self._matrix.data[:] = 0.0
        fem.assemble_matrix(self._matrix, self._tangent)
        tangent = self._matrix.to_scipy()
        for bound in self.bound:
            tangent = csr_matrix(tangent + bound.stiffness(x))
        return tangent

    def _update(self, x: Array) -> None:
        """Bring coefficients that depend on the unknowns up to date."""

    def jacobians(self, x: Array, nodes: bool = False) -> Array:
        """Smallest J at the quadrature points of each cell, and at its corners and midpoints too, shape (m,)."""
        self.state.x.array[:] = x
        values = self._jacobian.eval(self.body.mesh, self._cells).reshape(len(self._cells), -1)
        return np.asarray(values[:, : None if nodes else self._quadrature_points].min(axis=1))

    def strain_energy(self, x: Array) -> float:
        """Energy stored in tissues and capsules, µJ."""
        self.state.x.array[:] = x
        return float(np.real(fem.assemble_scalar(self._energy)))

    # ------------------------------------------------------------------ organ order

    def from_vertices(self, displacement: Array) -> Array:
        """Unknowns whose displacement interpolates that of the organ's vertices, shape (n, 3), and whose pressure is
        the volume stress that this displacement makes, averaged at the vertices.
        """
        x = np.zeros(self.unknowns)
        x[self.displacements] = self.interpolation @ displacement
        if self.name == "P2-P1":
            body = self.body
            volumes, bulk = body.rest_volumes[:, None], body.bulk.x.array[:, None]
            stress = volumes * bulk * (body.jacobians(body.from_organ(displacement))[:, None] - 1)
            n = len(displacement)
            weight = np.bincount(body.cell_dofs.ravel(), np.tile(volumes, 4).ravel(), n)
            mean = np.bincount(body.cell_dofs.ravel(), np.tile(stress, 4).ravel(), n) / weight
            x[self._pressure_parent] = body.to_organ(mean)[self._pressure_vertex]
        return x

    def at_vertices(self, x: Array) -> Array:
        """Displacement of the organ's vertices, shape (n, 3), mm."""
        return np.ascontiguousarray(x[self.displacements][self._node_of_vertex])

    @property
    def _node_of_vertex(self) -> Index:
        single = np.flatnonzero(np.diff(self.interpolation.indptr) == 1)
        node = np.empty(self.interpolation.shape[1], dtype=np.int64)
        node[self.interpolation.indices[self.interpolation.indptr[single]]] = single
        return node

    def pressure(self, x: Array) -> Array | None:
        """Volumetric stress at the organ's vertices, kPa, positive in expansion; None where there is none."""
        if self.name != "P2-P1":
            return None
        values = np.empty(len(self._pressure_vertex))
        values[self._pressure_vertex] = x[self._pressure_parent]
        return values


class AveragedElement(Element):
    """Linear tetrahedra with nodal-averaged change of volume; see `Element` and `solver.averaging`."""

    def _extra_energy(self, u: Any) -> Any:
        self._cell_pressure = fem.Function(self.body.cell_space)
        return self._cell_pressure * ufl.det(ufl.Identity(3) + ufl.grad(u)) * self.body.dx

    def _update(self, x: Array) -> None:
        self._cell_pressure.x.array[:] = self.body.averaging.pressure(self.body.jacobians(x))

    def tangent(self, x: Array) -> csr_matrix:
        """Tangent augmented by the vertex pressures."""
        stiffness = super().tangent(x)
        averaging = self.body.averaging
        averaged = 1 - averaging.stabilisation
        coupling = averaged / 4 * (averaging.gather @ self._volume_gradient(x))
        compliance = diags_array(averaged * averaging.volumes / averaging.bulk)
        return block_array([[stiffness, coupling.T], [coupling, -compliance]], format="csr")

    def _volume_gradient(self, x: Array) -> csr_matrix:
        """Derivative of each deformed cell volume by the displacements, mm², shape (m, 3 n)."""
        points = self.body.from_organ(self.body.reference_points) + x.reshape(-1, 3)
        tets = self.body.cell_dofs
        a, b, c, d = (points[tets[:, i]] for i in range(4))
        at_b, at_c, at_d = (np.cross(c - a, d - a), np.cross(d - a, b - a), np.cross(b - a, c - a))
        gradient = np.stack([-(at_b + at_c + at_d), at_b, at_c, at_d], axis=1) / 6
        columns = tets[:, :, None] * 3 + np.arange(3)
        starts = np.arange(len(tets) + 1) * 12
        return csr_matrix((gradient.ravel(), columns.ravel(), starts), shape=(len(tets), x.size))

    def strain_energy(self, x: Array) -> float:
        """Energy stored in tissues and capsules, µJ."""
        return super().strain_energy(x) + self.body.averaging.energy(self.body.jacobians(x))

    def pressure(self, x: Array) -> Array | None:
        """Volumetric stress at the organ's vertices, kPa; between tissues the mean of theirs by volume."""
        averaging = self.body.averaging
        p = averaging.vertex_pressure(self.body.jacobians(x)) / (1 - averaging.stabilisation)
        n = len(self.body.organ.points)
        weight = np.bincount(averaging.vertex, averaging.volumes, n)
        return self.body.to_organ(np.bincount(averaging.vertex, averaging.volumes * p, n) / weight)


def make_element(body: Body, name: ElementName, loads: Sequence[Load] = ()) -> Element:
    """Equations of a body with an element by its name.

    Raises
    ------
    SolverError
        If the name is unknown or a tissue cannot be used with the element.
    """
    if name not in get_args(ElementName):
        raise SolverError(f"The element '{name}' is unknown; use one of {', '.join(get_args(ElementName))}.")
    for tissue in body.tissues.values():
        check_no_locking(tissue, name)
    return AveragedElement(body, name, loads) if name == "P1-averaged" else Element(body, name, loads)


def _vertex_of_scalar_dof(body: Body, space: fem.FunctionSpace) -> Index:
    """Organ vertex of each degree of freedom of a continuous linear scalar space."""
    vertex = np.empty(space.dofmap.index_map.size_local, dtype=np.int64)
    vertex[space.dofmap.list.ravel()] = body.vertex_of_node[body.mesh.geometry.dofmaps[0].ravel()]
    return vertex


def _interpolation(body: Body, space: fem.FunctionSpace, order: int) -> csr_matrix:
    """From organ vertices to the nodes of a space: the vertices, and for order 2 the midpoints of the edges."""
    corners = body.vertex_of_node[body.mesh.geometry.dofmaps[0]]
    nodes = space.dofmap.list
    count = space.dofmap.index_map.size_local
    pair = np.empty((count, 2), dtype=np.int64)
    pair[nodes[:, :4]] = corners[:, :, None]
    if order == 2:
        edges = np.asarray(basix.topology(basix.CellType.tetrahedron)[1])
        pair[nodes[:, 4:]] = corners[:, edges]
    rows = np.repeat(np.arange(count), 2)
    matrix = csr_matrix(
        (np.full(2 * count, 0.5), (rows, pair.ravel())), shape=(count, len(body.organ.points))
    )
    matrix.sum_duplicates()
    return matrix
