"""Elements: how displacement and pressure are interpolated, and the equations that follow.

"P2-P1"        Taylor–Hood: quadratic displacement, linear pressure, perturbed Lagrangian (Taylor & Hood 1973,
               Comput Fluids 1:73); the reference, free of locking.
"P1-P1"        linear displacement and pressure, the cheapest without locking that any tissue with a bulk modulus and
               any number of processes take. Equal orders alone leave pressures free that no displacement feels;
               ½ ∫ (p − p₀)²/µ, p₀ the mean of p over the cell, is taken off the energy (Dohrmann & Bochev 2004, Int
               J Numer Methods Fluids 46:183).
"P2", "P1"     quadratic or linear displacement alone, U(J) at every quadrature point. P1 locks.
"P1-averaged"  linear displacement, change of volume averaged over the tetrahedra around a vertex
               (`solver.averaging`): the discretisation of the live tier. Its tangent couples second
               neighbours; written with the vertex pressures as unknowns, K du + Cᵀdp = −r, C du − D dp = 0
               with the diagonal D = V/K, it stays as sparse as that of a linear mixed element, and
               eliminating dp gives exactly the tangent of the averaged energy.

All unknowns of an element form one vector, of which each process holds the part it owns. Displacements at organ
vertices come and go through one sparse interpolation matrix, so that a prescribed patch holds the midpoints of its
edges as well and reactions return to the vertices with the work they do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import block_array, csr_matrix, diags_array

from solver.backend import (
    PETSc,
    assemble_matrix,
    basix,
    compile_expression,
    compile_form,
    create_matrix,
    fem,
    la,
    ufl,
)
from solver.body import Body, Volumetric
from solver.errors import SolverError
from solver.loads import Load
from solver.locking import check_no_locking

Array = NDArray[np.float64]
Index = NDArray[np.int64]
ElementName = Literal["P2-P1", "P1-P1", "P2", "P1", "P1-averaged"]
MIXED = ("P2-P1", "P1-P1")

# Quadrature: P2 displacement alone is integrated with the four points that other codes' quadratic tetrahedra
# use; the mixed form needs more, for p J is of degree four and more.
DEGREE: dict[str, int | None] = {"P2-P1": 4, "P1-P1": 2, "P2": 2, "P1": None, "P1-averaged": None}


_CORNERS = np.vstack([np.zeros(3), np.eye(3)])
CORNERS_AND_MIDPOINTS = np.vstack(
    [_CORNERS, [(_CORNERS[a] + _CORNERS[b]) / 2 for a, b in combinations(range(4), 2)]]
)


class Element:
    """Equations of a body with one kind of element.

    Parameters
    ----------
    body : Body
    name : {"P2-P1", "P1-P1", "P2", "P1", "P1-averaged"}
    loads : sequence of Load

    Attributes
    ----------
    mixed, symmetric : bool
        Whether pressures are among the unknowns, and whether the tangent is symmetric.
    unknowns, all_unknowns : int
        Length of the vector of unknowns: of this process, and of all together.
    displacements : ndarray of int
        Where its displacement components are, grouped by node, shape (nodes, 3).
    pressures : ndarray of int
        Where its pressures are.
    interpolation : scipy.sparse.csr_matrix, shape (nodes, n)
        From values at organ vertices to values at nodes.
    share : dolfinx.fem.Constant
        Part of the surface loads that acts.
    bound : list
        What adds to the assembled forces beside the forms (`solver.contact`).
    """

    def __init__(self, body: Body, name: ElementName, loads: Sequence[Load] = ()) -> None:
        self.body, self.name, self.loads = body, name, tuple(loads)
        self.mixed = name in MIXED
        self.share = fem.Constant(body.mesh, 1.0)
        self.symmetric = all(load.conservative for load in loads)
        self._build_space()
        self._build_forms(loads)
        self.bound = [load.bind(self) for load in loads if hasattr(load, "bind")]
        if self.bound and body.processes.count > 1:
            raise SolverError("Contact runs on one process; leave out mpiexec, or the contact.")

    def _build_space(self) -> None:
        cell = self.body.mesh.basix_cell()
        order = 1 if self.name.startswith("P1") else 2
        vector = basix.ufl.element("Lagrange", cell, order, shape=(3,))
        if self.mixed:
            scalar = basix.ufl.element("Lagrange", cell, 1)
            space = fem.functionspace(self.body.mesh, basix.ufl.mixed_element([vector, scalar]))
            collapsed, parent = space.sub(0).collapse()
            self.pressure_space, pressure_parent = space.sub(1).collapse()
            owned = self.pressure_space.dofmap.index_map.size_local
            self.pressures = np.asarray(pressure_parent, dtype=np.int64).ravel()[:owned]
            self._pressure_vertex = _vertex_of_scalar_dof(self.body, self.pressure_space)
        else:
            space = collapsed = fem.functionspace(self.body.mesh, vector)
            parent = [np.arange(3 * space.dofmap.index_map.size_local, dtype=np.int32)]
            self.pressures = np.empty(0, dtype=np.int64)
        self.space = space
        self.state = fem.Function(space)
        index_map, block = space.dofmap.index_map, space.dofmap.index_map_bs
        self.unknowns = index_map.size_local * block
        self.all_unknowns = index_map.size_global * block
        self.first_unknown = index_map.local_range[0] * block
        nodes = collapsed.dofmap.index_map.size_local
        self.displacements = np.asarray(parent, dtype=np.int64).reshape(-1, 3)[:nodes]
        self.interpolation = _interpolation(self.body, collapsed, order)

    def _build_forms(self, loads: Sequence[Load]) -> None:
        body, degree = self.body, DEGREE[self.name]
        if self.mixed:
            u, pressure = ufl.split(self.state)
            mode: tuple[Any, Volumetric] = (pressure, "mixed")
        else:
            u = self.state
            mode = (None, "averaged" if self.name == "P1-averaged" else "exact")
        stored = body.stored_energy(u, *mode, degree)
        if self.name == "P1-P1":
            stored -= self._roughness(pressure)
        energy = stored + body.support_energy(u) - body.gravity_work(u)
        test, trial = ufl.TestFunction(self.space), ufl.TrialFunction(self.space)
        residual = ufl.derivative(energy + self._extra_energy(u), self.state, test)
        v = ufl.split(test)[0] if self.mixed else test
        for load in loads:
            work = load.virtual_work(body, u, v, self.share)
            residual = residual - work if work else residual
        self._energy = compile_form(stored)
        self._residual = compile_form(residual)
        self._tangent = compile_form(ufl.derivative(residual, self.state, trial))
        self._assembled: Any = None
        self._operator: Any = None
        points = np.asarray(basix.make_quadrature(basix.CellType.tetrahedron, degree or 1)[0])
        self._quadrature_points = len(points)
        # J of a quadratic displacement is cubic: it can be negative at a corner and positive inside.
        points = np.vstack([points, CORNERS_AND_MIDPOINTS])
        self._jacobian = compile_expression(ufl.det(ufl.Identity(3) + ufl.grad(u)), points)
        cells = self.body.mesh.topology.index_map(3).size_local
        self._cells = np.arange(cells, dtype=np.int32)

    def _extra_energy(self, u: Any) -> Any:
        return 0

    def _roughness(self, pressure: Any) -> Any:
        """½ ∫ (p − p₀)²/µ: p is linear, so this is ½ ∇p·M ∇p/µ with M the second moments of the cell about its
        centroid over its volume, Σ (x − x₀)(x − x₀)ᵀ/20 over its four vertices x.
        """
        body = self.body
        corners = body.from_organ(body.reference_points)[body.cell_dofs]
        offsets = corners - corners.mean(axis=1, keepdims=True)
        moments = fem.Function(fem.functionspace(body.mesh, ("DG", 0, (3, 3))))
        moments.x.array[:] = (np.einsum("cai,caj->cij", offsets, offsets) / 20).ravel()
        slope = ufl.grad(pressure)
        return ufl.inner(slope, moments * slope) / (2 * body.shear) * body.dx

    # ------------------------------------------------------------------ equations

    def put(self, x: Array) -> None:
        """Make `state` the function of these unknowns."""
        self.state.x.array[: self.unknowns] = x
        self.state.x.scatter_forward()

    def residual(self, x: Array) -> Array:
        """Out-of-balance force of every unknown, mN (mm³ for pressures), shape (unknowns,)."""
        self.put(x)
        vector = fem.assemble_vector(self._residual)
        vector.scatter_reverse(la.InsertMode.add)
        force = np.array(vector.array[: self.unknowns])
        for bound in self.bound:
            force += bound.force(x)
        return force

    def tangent(self, x: Array) -> csr_matrix:
        """Derivative of the residual, on one process, shape (unknowns, unknowns), or larger where it is augmented."""
        self.put(x)
        if self._assembled is None:
            self._assembled = fem.create_matrix(self._tangent, block_mode=la.BlockMode.expanded)
        self._assembled.data[:] = 0.0
        fem.assemble_matrix(self._assembled, self._tangent)
        tangent = self._assembled.to_scipy()
        for bound in self.bound:
            tangent = csr_matrix(tangent + bound.stiffness(x))
        return tangent

    def operator(self, x: Array) -> PETSc.Mat:
        """The same, on all processes, as a PETSc matrix that the next call fills anew."""
        if self.bound:
            return self._from_rows(self.tangent(x))
        self.put(x)
        if self._operator is None:
            # Blocks of a node's three components halve the time of assembly and third that of a product.
            self._operator = create_matrix(self._tangent, kind="aij" if self.mixed else "baij")
            self._operator.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        self._operator.zeroEntries()
        assemble_matrix(self._operator, self._tangent)
        self._operator.assemble()
        return self._operator

    def _from_rows(self, matrix: csr_matrix) -> PETSc.Mat:
        """A sparse matrix of this process alone, handed to PETSc in place of the one before."""
        matrix.sort_indices()
        csr = (matrix.indptr.astype(PETSc.IntType), matrix.indices.astype(PETSc.IntType), matrix.data)
        self.destroy()
        self._operator = PETSc.Mat().createAIJ(size=matrix.shape, csr=csr, comm=PETSc.COMM_SELF)
        self._operator.setOption(PETSc.Mat.Option.KEEP_NONZERO_PATTERN, True)
        return self._operator

    def destroy(self) -> None:
        """Free the matrix; on several processes Python cannot, for all have to at once."""
        if self._operator is not None:
            self._operator.destroy()
            self._operator = None

    def jacobians(self, x: Array, nodes: bool = False) -> Array:
        """Smallest J at the quadrature points of each cell, and at its corners and midpoints too, shape (m,)."""
        self.put(x)
        values = self._jacobian.eval(self.body.mesh, self._cells)
        values = values.reshape(len(self._cells), self._quadrature_points + len(CORNERS_AND_MIDPOINTS))
        return np.asarray(values[:, : None if nodes else self._quadrature_points].min(axis=1))

    def strain_energy(self, x: Array) -> float:
        """Energy stored in tissues and capsules, µJ."""
        self.put(x)
        return self.body.processes.total(float(np.real(fem.assemble_scalar(self._energy))))

    # ------------------------------------------------------------------ organ order

    def from_vertices(self, displacement: Array) -> Array:
        """Unknowns whose displacement interpolates that of the organ's vertices, shape (n, 3), and whose pressure is
        the volume stress that this displacement makes, averaged at the vertices.
        """
        x = np.zeros(self.unknowns)
        x[self.displacements] = self.interpolation @ displacement
        if self.mixed:
            x[self.pressures] = self._mean_stress(displacement)[self._pressure_vertex]
        return x

    def _mean_stress(self, displacement: Array) -> Array:
        """Volume stress of linear tetrahedra, averaged at the organ's vertices, kPa, shape (n,)."""
        body, n = self.body, len(displacement)
        vertices = body.organ.tets[body.tet_of_cell].ravel()
        stress = body.bulk.x.array * (body.jacobians(body.from_organ(displacement)) - 1)
        weight = np.bincount(vertices, np.repeat(body.rest_volumes, 4), n)
        total = np.bincount(vertices, np.repeat(body.rest_volumes * stress, 4), n)
        return np.asarray(body.processes.whole(total) / body.processes.whole(weight))

    def at_vertices(self, x: Array) -> Array:
        """Displacement of the organ's vertices, shape (n, 3), mm."""
        single = np.flatnonzero(np.diff(self.interpolation.indptr) == 1)
        values = np.zeros((self.interpolation.shape[1], 3))
        values[self.interpolation.indices[self.interpolation.indptr[single]]] = x[self.displacements[single]]
        return self.body.processes.whole(values)

    def forces_at_vertices(self, residual: Array) -> Array:
        """Forces on the organ's vertices that do the work of forces on the nodes, mN, shape (n, 3)."""
        return self.body.processes.whole(self.interpolation.T @ residual[self.displacements])

    def pressure(self, x: Array) -> Array | None:
        """Volumetric stress at the organ's vertices, kPa, positive in expansion; None where there is none."""
        if not self.mixed:
            return None
        values = np.zeros(self.interpolation.shape[1])
        values[self._pressure_vertex] = x[self.pressures]
        return self.body.processes.whole(values)


class AveragedElement(Element):
    """Linear tetrahedra with nodal-averaged change of volume; see `Element` and `solver.averaging`."""

    def _extra_energy(self, u: Any) -> Any:
        self._cell_pressure = fem.Function(self.body.cell_space)
        return self._cell_pressure * ufl.det(ufl.Identity(3) + ufl.grad(u)) * self.body.dx

    def put(self, x: Array) -> None:
        """Make `state` the function of these unknowns, and their averaged pressure that of the cells."""
        super().put(x)
        self._cell_pressure.x.array[:] = self.body.averaging.pressure(self.body.jacobians(x))

    def tangent(self, x: Array) -> csr_matrix:
        """Tangent augmented by the vertex pressures."""
        stiffness = super().tangent(x)
        averaging = self.body.averaging
        averaged = 1 - averaging.stabilisation
        coupling = averaged / 4 * (averaging.gather @ self._volume_gradient(x))
        compliance = diags_array(averaged * averaging.volumes / averaging.bulk)
        return block_array([[stiffness, coupling.T], [coupling, -compliance]], format="csr")

    def operator(self, x: Array) -> PETSc.Mat:
        """The same as a PETSc matrix."""
        return self._from_rows(self.tangent(x))

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
    """Organ vertex of each degree of freedom that this process owns of a continuous linear scalar space."""
    owned = space.dofmap.index_map.size_local
    vertex = np.empty(owned + space.dofmap.index_map.num_ghosts, dtype=np.int64)
    vertex[space.dofmap.list.ravel()] = body.vertex_of_node[body.mesh.geometry.dofmaps[0].ravel()]
    return vertex[:owned]


def _interpolation(body: Body, space: fem.FunctionSpace, order: int) -> csr_matrix:
    """From organ vertices to this process's nodes: the vertices, and for order 2 the midpoints of the edges."""
    corners = body.vertex_of_node[body.mesh.geometry.dofmaps[0]]
    nodes = space.dofmap.list
    owned = space.dofmap.index_map.size_local
    count = owned + space.dofmap.index_map.num_ghosts
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
    return matrix[:owned]
