"""Body: a mesh with its tissues and attachments, as the energy every solver of this package minimises.

The potential energy of a body is

    Π(u) = ∫ W_iso(C̄) dX + ∫ U(J) dX + Σ ∫ ½ u·k u dA + ∫ h W_m dA − ∫ ρ g·u dX,

stored energy, change of volume, attachments, capsule and gravity, over the *stress-free* shape (Holzapfel
2000, ch. 8). `Body.energy` writes it once, in UFL, for a displacement of any element; `Equilibrium` and
`Interactive` both start from it. The scan shows the organ under gravity: `Body.reference_points` is the
stress-free shape the equations live on and `Body.scanned_displacement` leads from it to the scanned one. A
new body takes the scanned shape as stress-free (`scanned_displacement` zero); `solver.unloaded.unload`
finds the true one.

Vertices keep the order of the `OrganMesh` outside of this class; DOLFINx reorders them, and `to_organ`,
`from_organ` (vertices) and `cells_to_organ`, `cells_from_organ` (tetrahedra) lead from one to the other. A
body may be spread over several processes (`solver.processes`): then `mesh` and the orders that come with it
are the part of this process, and arrays in OrganMesh order are whole on every one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy.mesh import OrganMesh
from solver.attachments import Attachment, from_anatomy
from solver.averaging import STABILISATION, NodalAveraging
from solver.backend import MPI, basix, fem, mesh, ufl
from solver.errors import SolverError
from solver.fibres import Fibres, fibre_fields
from solver.materials import Law, Membrane
from solver.processes import Processes
from solver.support import check_supported, connected_pieces
from solver.tissues import Tissue, tissue_of

Array = NDArray[np.float64]
Index = NDArray[np.int64]
Volumetric = Literal["exact", "mixed", "averaged"]

CAPSULE_ID, PATCH_ID = 1000, 2000


class Body:
    """An organ that can be loaded.

    Parameters
    ----------
    organ : OrganMesh
        The scanned shape, mm, LPS.
    tissues : mapping of structure name to Tissue, optional
        Replaces the published tissue of single structures.
    attachments : sequence of Attachment, optional
        Default: derived from the anatomy; then every connected piece must be held.
    gravity_mm_s2 : array-like, shape (3,)
        Acceleration in LPS mm/s²; the default is that of a patient lying on the back. Zeros switch it off.
    reference_points : ndarray, shape (n, 3), optional
        Stress-free vertex positions; default the scanned ones.
    fibres : ndarray, shape (m, d, 3), or callable, optional
        Directions of up to d fibre families of each tetrahedron, of any length, in the stress-free shape, for laws
        that have them; or a function from points (k, 3) of that shape to directions (k, d, 3), where they turn
        within a tetrahedron.
    stabilisation : float
        Share of the change of volume that "P1-averaged" leaves unaveraged, see `solver.averaging`; the live tier
        keeps to the default.
    patches : mapping of str to ndarray, shape (k, 3), optional
        Exterior triangles, by vertices, on which loads may act (`solver.loads`).
    comm : mpi4py.MPI.Comm, optional
        Processes that share the body, each of which builds it with the same arguments; default this one alone.
        In a script that runs under `mpiexec`, give `MPI.COMM_WORLD`.

    Attributes
    ----------
    organ, tissues, attachments, gravity_mm_s2
        As given, completed.
    mesh : dolfinx.mesh.Mesh
        Linear tetrahedra of the stress-free shape; of several processes, this one's part.
    space : dolfinx.fem.FunctionSpace
        Continuous linear vectors on `mesh`.
    reference_points : ndarray, shape (n, 3), float64
        Stress-free vertex positions, OrganMesh order, mm.
    scanned_displacement : ndarray, shape (n, 3), float64
        Scanned minus stress-free positions, OrganMesh order, mm.

    Raises
    ------
    SolverError
        If a structure has no tissue, an attachment is not on the outer surface, the shape is unusable, or a
        piece of the organ is held by nothing.
    """

    def __init__(
        self,
        organ: OrganMesh,
        tissues: Mapping[str, Tissue] | None = None,
        attachments: Sequence[Attachment] | None = None,
        gravity_mm_s2: ArrayLike = (0.0, 9810.0, 0.0),
        reference_points: Array | None = None,
        patches: Mapping[str, Index] | None = None,
        fibres: Fibres | None = None,
        stabilisation: float = STABILISATION,
        comm: Any = None,
    ) -> None:
        self.organ = organ
        self.processes = Processes(MPI.COMM_SELF if comm is None else comm)
        self.fibres = fibres
        self.stabilisation = stabilisation
        self.patches = dict(patches or {})
        self.gravity_mm_s2 = _vector(gravity_mm_s2)
        self.tissues = _complete(organ, tissues)
        self.attachments = tuple(from_anatomy(organ) if attachments is None else attachments)
        points = organ.points if reference_points is None else np.asarray(reference_points, dtype=np.float64)
        if points.shape != organ.points.shape:
            raise SolverError(
                f"The stress-free shape has {len(points)} vertices and the organ {len(organ.points)}."
            )
        _check_upright(points, organ)
        self.reference_points = points
        self.scanned_displacement = organ.points - points
        self._build_mesh()
        self._build_coefficients()
        self._build_measures()
        if attachments is None:
            self.check_supported()

    def on_reference(self, reference_points: Array) -> Body:
        """The same body on another stress-free shape, shape (n, 3), mm, OrganMesh order."""
        return Body(
            self.organ,
            self.tissues,
            self.attachments,
            self.gravity_mm_s2,
            reference_points,
            self.patches,
            self.fibres,
            self.stabilisation,
            self.processes.comm,
        )

    # ------------------------------------------------------------------ mesh and the maps both ways

    def _build_mesh(self) -> None:
        used = np.zeros(len(self.organ.points), dtype=bool)
        used[self.organ.tets] = True
        if not used.all():
            raise SolverError(
                f"{int((~used).sum())} vertices belong to no tetrahedron; remove them from the mesh."
            )
        element = basix.ufl.element("Lagrange", "tetrahedron", 1, shape=(3,))
        domain = ufl.Mesh(element)
        # Nothing here integrates over inner facets, so no cell is needed twice.
        partition: Any = mesh.create_cell_partitioner
        tets = self.organ.tets[self.processes.part(len(self.organ.tets))]
        points = self.reference_points[self.processes.part(len(self.organ.points))]
        self.mesh = mesh.create_mesh(
            self.processes.comm, tets, domain, points, partition(mesh.GhostMode.none, 2)
        )
        self.space = fem.functionspace(self.mesh, ("Lagrange", 1, (3,)))
        self.cell_space = fem.functionspace(self.mesh, ("DG", 0))
        self.tet_of_cell = np.asarray(self.mesh.topology.original_cell_index, dtype=np.int64)
        self.cell_of_tet = np.full(len(self.organ.tets), -1, dtype=np.int64)
        self.cell_of_tet[self.tet_of_cell] = np.arange(len(self.tet_of_cell))
        self.vertex_of_node = np.asarray(self.mesh.geometry.input_global_indices, dtype=np.int64)
        node_of_dof = np.empty(len(self.vertex_of_node), dtype=np.int64)
        node_of_dof[self.space.dofmap.list.ravel()] = self.mesh.geometry.dofmaps[0].ravel()
        self.vertex_of_dof = self.vertex_of_node[node_of_dof]
        self.dof_of_vertex = np.full(len(self.organ.points), -1, dtype=np.int64)
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

    # ------------------------------------------------------------------ coefficients and measures

    def _cellwise(self, per_structure: Mapping[str, float]) -> fem.Function:
        """Cell-wise constant function from one number a structure."""
        table = np.zeros(256)
        for value, name in self.organ.structures.items():
            table[value] = per_structure.get(name, 0.0)
        function = fem.Function(self.cell_space)
        function.x.array[:] = self.cells_from_organ(table[self.organ.region])
        return function

    def _build_coefficients(self) -> None:
        self.density = self._cellwise({name: t.density_kg_mm3 for name, t in self.tissues.items()})
        self.bulk = self._cellwise(
            {name: t.compressibility.bulk_kPa for name, t in self.tissues.items() if t.compressibility}
        )
        self.shear = self._cellwise({name: t.law.initial_shear_kPa for name, t in self.tissues.items()})
        self.gravity = fem.Constant(self.mesh, self.gravity_mm_s2.copy())
        groups: dict[tuple[type[Law], tuple[float, ...], str], list[str]] = {}
        for name, tissue in self.tissues.items():
            measure = tissue.compressibility.measure if tissue.compressibility else ""
            groups.setdefault((type(tissue.law), tissue.law.structure, measure), []).append(name)
        self._groups: list[tuple[Tissue, list[str], dict[str, fem.Function]]] = []
        for names in groups.values():
            first = self.tissues[names[0]]
            coefficients = {
                key: self._cellwise({name: self.tissues[name].law.parameters[key] for name in names})
                for key in first.law.parameters
            }
            self._groups.append((first, names, coefficients))

    @cached_property
    def fibre_fields(self) -> tuple[Any, ...]:
        """Fibre directions, one function a family: cell-wise, or quadratic in each cell where they turn."""
        return fibre_fields(self)

    def _fibres_of(self, tissue: Tissue) -> tuple[Any, ...]:
        if len(self.fibre_fields) < tissue.law.fibres:
            raise SolverError(
                f"{type(tissue.law).__name__} of '{tissue.name}' needs {tissue.law.fibres} fibre directions a "
                f"tetrahedron and the body has {len(self.fibre_fields)}; give them with Body(organ, fibres=…)."
            )
        return self.fibre_fields[: tissue.law.fibres]

    def _build_measures(self) -> None:
        self.stiffness = [
            (fem.Constant(self.mesh, 0.0), fem.Constant(self.mesh, 0.0)) for _ in self.attachments
        ]
        for index, attachment in enumerate(self.attachments):
            self._set_stiffness(index, attachment)
        self._capsules = self._find_capsules()
        facets = [(i, a.facets, a.name) for i, a in enumerate(self.attachments)]
        facets += [(CAPSULE_ID + i, triangles, "capsule") for i, (_, triangles) in enumerate(self._capsules)]
        facets += [
            (PATCH_ID + i, triangles, name) for i, (name, triangles) in enumerate(self.patches.items())
        ]
        self.ds = ufl.Measure("ds", domain=self.mesh, subdomain_data=self._facet_domains(facets))
        cells = [(i, self._cells_of(names)) for i, (_, names, _) in enumerate(self._groups)]
        self.dx = ufl.Measure("dx", domain=self.mesh, subdomain_data=cells)

    def _cells_of(self, names: Iterable[str]) -> NDArray[np.int32]:
        values = [value for value, name in self.organ.structures.items() if name in set(names)]
        return np.flatnonzero(np.isin(self.cells_from_organ(self.organ.region), values)).astype(np.int32)

    def _find_capsules(self) -> list[tuple[Membrane, Index]]:
        """Capsules and the exterior triangles they cover, those of one kind taken together."""
        owner = self.organ.region[self.organ.exterior_tets]
        covered: dict[Membrane, NDArray[np.bool_]] = {}
        for value, name in self.organ.structures.items():
            capsule = self.tissues[name].capsule if name in self.tissues else None
            if capsule is not None:
                covered[capsule] = covered.get(capsule, np.zeros(len(owner), dtype=bool)) | (owner == value)
        return [(c, self.organ.exterior[mask]) for c, mask in covered.items() if mask.any()]

    def _facet_domains(self, patches: list[tuple[int, Index, str]]) -> list[tuple[int, NDArray[np.int32]]]:
        """Integration entities of patches of exterior triangles given by their vertices."""
        topology = self.mesh.topology
        topology.create_entities(2)
        topology.create_connectivity(2, 3)
        topology.create_connectivity(3, 2)
        exterior = mesh.exterior_facet_indices(topology)
        nodes = mesh.entities_to_geometry(self.mesh, 2, exterior)
        keys = _keys(self.vertex_of_node[nodes], len(self.organ.points))
        order = np.argsort(keys)
        domains = []
        for number, facets, name in patches:
            wanted = _keys(facets, len(self.organ.points))
            hit = np.isin(wanted, keys)
            outside = int((self.processes.whole(hit.astype(np.int64)) == 0).sum())
            if outside:
                raise SolverError(
                    f"{outside} facets of the patch '{name}' are not on the outer surface of the organ; "
                    "choose them from OrganMesh.exterior."
                )
            found = exterior[order[np.searchsorted(keys[order], wanted[hit])]]
            found = np.sort(found).astype(np.int32)
            entities = fem.compute_integration_domains(fem.IntegralType.exterior_facet, topology, found)
            domains.append((number, np.asarray(entities).ravel()))
        return domains

    # ------------------------------------------------------------------ attachments

    def _set_stiffness(self, index: int, attachment: Attachment) -> None:
        normal, tangential = self.stiffness[index]
        normal.value[()] = 0.0 if attachment.released else attachment.normal_kPa_mm
        tangential.value[()] = 0.0 if attachment.released else attachment.tangential_kPa_mm

    def release(self, name: str) -> None:
        """Divide every attachment of a name; forms already compiled see it at once.

        Raises
        ------
        SolverError
            If no attachment has that name.
        """
        if name not in {a.name for a in self.attachments}:
            known = ", ".join(sorted({a.name for a in self.attachments})) or "none"
            raise SolverError(f"There is no attachment '{name}'; the body has {known}.")
        self.hold_by([a.release() if a.name == name else a for a in self.attachments])

    def hold_by(self, attachments: Sequence[Attachment]) -> None:
        """Take the same attachments in another state, divided or not; forms already compiled see it at once."""
        self.attachments = tuple(attachments)
        for index, attachment in enumerate(self.attachments):
            self._set_stiffness(index, attachment)

    def patch(self, name: str) -> ufl.Measure:
        """Measure of the reference area of a named patch."""
        if name not in self.patches:
            raise SolverError(f"The body has no patch '{name}'; it has {', '.join(self.patches) or 'none'}.")
        return self.ds(PATCH_ID + list(self.patches).index(name))

    @cached_property
    def components(self) -> Index:
        """Number of the connected piece of each vertex, OrganMesh order, shape (n,)."""
        return connected_pieces(self.organ.tets, len(self.organ.points))

    def check_supported(
        self, held: ArrayLike = (), components: ArrayLike | None = None, loads: Sequence[Any] = ()
    ) -> None:
        """Refuse a body of which a piece could move rigidly; arguments as in `solver.support.check_supported`."""
        check_supported(self, held, components, loads)

    # ------------------------------------------------------------------ energy

    def energy(
        self, u: Any, pressure: Any = None, volumetric: Volumetric = "exact", degree: int | None = None
    ) -> ufl.Form:
        """Potential energy of a displacement, in µJ, as a UFL form.

        Parameters
        ----------
        u : UFL vector on `mesh`
            Displacement from the stress-free shape, mm, of any element.
        pressure : UFL scalar on `mesh`, optional
            Volumetric stress, kPa, positive in expansion; needed by "mixed".
        volumetric : {"exact", "mixed", "averaged"}
            How the change of volume is counted: U(J) at every point; the perturbed Lagrangian p g − p²/2K; or
            only the unaveraged share of U(J) that stabilises nodal averaging, the averaged rest being added
            by `averaging` (its power is ∫ p₀ J dX with the cell-wise p₀ of `NodalAveraging.pressure`).
        degree : int, optional
            Degree of polynomials the quadrature is exact for; the default suits linear tetrahedra.
        """
        stored = self.stored_energy(u, pressure, volumetric, degree)
        return stored + self.support_energy(u) - self.gravity_work(u)

    def stored_energy(
        self, u: Any, pressure: Any = None, volumetric: Volumetric = "exact", degree: int | None = None
    ) -> ufl.Form:
        """Energy stored in the tissues and capsules; arguments as in `energy`."""
        metadata = {} if degree is None else {"quadrature_degree": degree}
        dx, ds = self.dx(metadata=metadata), self.ds(metadata=metadata)
        F = ufl.Identity(3) + ufl.grad(u)
        J = ufl.det(F)
        total: Any = 0
        for index, (tissue, _, coefficients) in enumerate(self._groups):
            density = tissue.law.energy(F, coefficients, self._fibres_of(tissue))
            if tissue.compressibility is not None:
                if volumetric == "mixed":
                    density += tissue.compressibility.mixed(J, pressure, self.bulk)
                else:
                    share = self.stabilisation if volumetric == "averaged" else 1.0
                    density += share * tissue.compressibility.energy(J, self.bulk)
            elif volumetric != "exact":
                raise SolverError(
                    f"{type(tissue.law).__name__} of '{tissue.name}' carries its own change of volume; "
                    "use element 'P2'."
                )
            total += density * (dx if len(self._groups) == 1 else dx(index))
        normal = ufl.FacetNormal(self.mesh)
        for index, (capsule, _) in enumerate(self._capsules):
            stiffness = fem.Constant(self.mesh, capsule.stiffness_kPa_mm)
            total += capsule.energy(F, normal, stiffness) * ds(CAPSULE_ID + index)
        return total

    def law_energies(self, F: Any) -> list[tuple[Any, NDArray[np.int32]]]:
        """Energy density of the laws alone, kPa, without their compressibility, and the cells of each.

        Parameters
        ----------
        F : UFL tensor
            Deformation gradient.

        Returns
        -------
        list of (UFL expression, ndarray of int32)
            In the order of the subdomains of `dx`.
        """
        return [
            (tissue.law.energy(F, coefficients, self._fibres_of(tissue)), self._cells_of(names))
            for tissue, names, coefficients in self._groups
        ]

    def support_energy(self, u: Any) -> ufl.Form | int:
        """Energy stored in the attachments; zero where there is none."""
        n = ufl.FacetNormal(self.mesh)
        total: Any = 0
        for index, (normal, tangential) in enumerate(self.stiffness):
            along = ufl.inner(u, n)
            density = tangential / 2 * ufl.inner(u, u) + (normal - tangential) / 2 * along**2
            total += density * self.ds(index)
        return total

    def gravity_work(self, u: Any) -> ufl.Form:
        """Work of gravity; `gravity` is a Constant and may be scaled between solves."""
        return self.density * ufl.inner(self.gravity, u) * self.dx

    # ------------------------------------------------------------------ cells

    @cached_property
    def averaging(self) -> NodalAveraging:
        """Nodal averaging of the change of volume on the linear tetrahedra of this body."""
        measures = {t.compressibility.measure for t in self.tissues.values() if t.compressibility}
        if measures != {"linear"}:
            raise SolverError(
                "Nodal averaging is written for K/2 (J − 1)²; give every tissue that compressibility."
            )
        if self.processes.count > 1:
            raise SolverError(
                "Nodal averaging runs on one process; under mpiexec use the element 'P1-P1', 'P2' or 'P2-P1'."
            )
        return NodalAveraging(self.cell_dofs, self.rest_volumes, self.bulk.x.array, self.stabilisation)

    @cached_property
    def mass_kg(self) -> float:
        """Mass of the body, kg."""
        return self.processes.total(float(self.rest_volumes @ self.density.x.array))

    @cached_property
    def cell_dofs(self) -> Index:
        """Vertices of each cell in the order of `space`, positively oriented, shape (m, 4)."""
        return self.dof_of_vertex[self.organ.tets[self.tet_of_cell]]

    @cached_property
    def rest_volumes(self) -> Array:
        """Stress-free volume of each cell of `mesh`, mm³, shape (m,)."""
        return tet_volumes(self.from_organ(self.reference_points), self.cell_dofs)

    def jacobians(self, displacement: Array) -> Array:
        """Volume ratio J of each cell under vertex displacements in the order of `space`, shape (m,)."""
        points = self.from_organ(self.reference_points) + displacement.reshape(-1, 3)
        return tet_volumes(points, self.cell_dofs) / self.rest_volumes


def tet_volumes(points: Array, tets: Index) -> Array:
    """Signed volumes of tetrahedra, mm³, shape (m,)."""
    a, b, c, d = (points[tets[:, i]] for i in range(4))
    return np.asarray(np.einsum("ij,ij->i", b - a, np.cross(c - a, d - a)) / 6.0)


def _check_upright(points: Array, organ: OrganMesh) -> None:
    """Refuse a stress-free shape that is not finite or turns tetrahedra inside out."""
    if not np.isfinite(points).all():
        raise SolverError("The stress-free shape has vertices that are not finite; give millimetres.")
    inverted = np.flatnonzero(tet_volumes(points, organ.tets) <= 0)
    if len(inverted):
        at = organ.points[organ.tets[inverted[0]]].mean(axis=0)
        raise SolverError(
            f"The stress-free shape turns {len(inverted)} of {len(organ.tets)} tetrahedra inside out, one at "
            f"x {at[0]:.0f}, y {at[1]:.0f}, z {at[2]:.0f} mm; give a shape that folds nothing."
        )


def _vector(values: ArrayLike) -> Array:
    vector = np.asarray(values, dtype=np.float64)
    if vector.shape != (3,) or not np.isfinite(vector).all():
        raise SolverError(f"Gravity is {values!r}; give three numbers in mm/s².")
    return vector


def _complete(organ: OrganMesh, tissues: Mapping[str, Tissue] | None) -> dict[str, Tissue]:
    """Tissue of every structure that has tetrahedra."""
    given = dict(tissues or {})
    unknown = sorted(set(given) - set(organ.structures.values()))
    if unknown:
        raise SolverError(f"Tissues are given for {', '.join(unknown)}, which the mesh does not have.")
    present = np.bincount(organ.region, minlength=256) > 0
    names = [name for value, name in organ.structures.items() if present[value]]
    return {name: given[name] if name in given else tissue_of(name) for name in names}


def _keys(facets: Index, count: int) -> Index:
    """One number for each triangle, whatever the order of its vertices."""
    a, b, c = np.sort(np.asarray(facets, dtype=np.int64), axis=1).T
    return (a * count + b) * count + c
