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
`from_organ` (vertices) and `cells_to_organ`, `cells_from_organ` (tetrahedra) lead from one to the other
(`solver.domain`, built when first asked for: the live tier never asks). A body may be spread over several
processes (`solver.processes`): then `mesh` and the orders that come with it are the part of this process, and
arrays in OrganMesh order are whole on every one. A cut leaves a body as it is and makes another
(`Body.changed`), on which cut faces are `raw`, without capsule and attachment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from anatomy.mesh import OrganMesh
from solver.attachments import Attachment, from_anatomy
from solver.averaging import STABILISATION, NodalAveraging
from solver.backend import MPI, fem, ufl
from solver.domain import Domain, check_outside, facet_keys
from solver.errors import SolverError
from solver.fibres import Fibres, fibre_fields
from solver.materials import Law, Membrane
from solver.processes import Processes
from solver.support import check_supported, connected_pieces
from solver.tissues import Tissue, tissue_of
from solver.topology import TopologyChange

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
    raw : ndarray, shape (k, 3), int64, optional
        Exterior triangles, by vertices, that are cut faces: no capsule covers them.

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
        raw: Index | None = None,
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
        self.raw = np.zeros((0, 3), dtype=np.int64) if raw is None else np.asarray(raw, dtype=np.int64)
        self._check_facets()
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
            self.raw,
        )

    def changed(self, change: TopologyChange) -> Body:
        """The body on the mesh after a change of topology.

        Attachments, patches and cut faces keep what is left of their facets, an attachment of which nothing is left
        is gone, and the faces that the change lays open are raw.

        Parameters
        ----------
        change : TopologyChange
            From this body's organ.
        """
        parts = [change.after.exterior[rows] for rows in change.parts_of(self._marked())]
        held = len(self.attachments)
        return Body(
            change.after,
            self.tissues,
            [
                replace(attachment, facets=facets)
                for attachment, facets in zip(self.attachments, parts[:held], strict=True)
                if len(facets)
            ],
            self.gravity_mm_s2,
            change.interpolate(self.reference_points),
            dict(zip(self.patches, parts[held:-1], strict=True)),
            self.fibres if self.fibres is None or callable(self.fibres) else change.of_tets(self.fibres),
            self.stabilisation,
            self.processes.comm,
            np.concatenate([parts[-1], change.raw]),
        )

    def _marked(self) -> list[Index]:
        """Facets of every attachment, of every patch, and those that are raw."""
        return [*(a.facets for a in self.attachments), *self.patches.values(), self.raw]

    def _check_facets(self) -> None:
        """Refuse vertices without tetrahedra, and patches that are not on the outer surface."""
        used = np.zeros(len(self.organ.points), dtype=bool)
        used[self.organ.tets] = True
        if not used.all():
            raise SolverError(
                f"{int((~used).sum())} vertices belong to no tetrahedron; remove them from the mesh."
            )
        names = [*(a.name for a in self.attachments), *self.patches, "raw"]
        check_outside(self.organ, zip(names, self._marked(), strict=True))

    # ------------------------------------------------------------------ mesh and the maps both ways

    @cached_property
    def domain(self) -> Domain:
        """The mesh of the equations with its spaces, built when first asked for."""
        return Domain(self.organ, self.reference_points, self.processes)

    @property
    def mesh(self) -> Any:
        """Linear tetrahedra of the stress-free shape; of several processes, this one's part."""
        return self.domain.mesh

    @property
    def space(self) -> Any:
        """Continuous linear vectors on `mesh`."""
        return self.domain.space

    @property
    def cell_space(self) -> Any:
        """Cell-wise constants on `mesh`."""
        return self.domain.cell_space

    @property
    def tet_of_cell(self) -> Index:
        """Tetrahedron of the organ each cell of `mesh` is."""
        return self.domain.tet_of_cell

    @property
    def cell_of_tet(self) -> Index:
        """Cell of `mesh` each tetrahedron of the organ is; −1 where another process has it."""
        return self.domain.cell_of_tet

    @property
    def vertex_of_node(self) -> Index:
        """Vertex of the organ of each node of the geometry of `mesh`."""
        return self.domain.vertex_of_node

    @property
    def vertex_of_dof(self) -> Index:
        """Vertex of the organ of each place in the order of `space`."""
        return self.domain.vertex_of_dof

    @property
    def dof_of_vertex(self) -> Index:
        """Place in the order of `space` of each vertex of the organ; −1 where another process has it."""
        return self.domain.dof_of_vertex

    def to_organ(self, values: NDArray[Any]) -> NDArray[Any]:
        """Vertex values, shape (3 n,), (n,) or (n, d), from the order of `space` to OrganMesh order."""
        return self.domain.to_organ(values)

    def from_organ(self, values: Array) -> Array:
        """Vertex values, shape (n,) or (n, d), from OrganMesh order to the order of `space`."""
        return self.domain.from_organ(values)

    def cells_to_organ(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the cells of `mesh`, shape (m, …), in the order of the organ's tetrahedra."""
        return self.domain.cells_to_organ(values)

    def cells_from_organ(self, values: NDArray[Any]) -> NDArray[Any]:
        """Values of the organ's tetrahedra, shape (m, …), in the order of the cells of `mesh`."""
        return self.domain.cells_from_organ(values)

    # ------------------------------------------------------------------ coefficients and measures

    def _cellwise(self, per_structure: Mapping[str, float]) -> fem.Function:
        """Cell-wise constant function from one number a structure."""
        table = np.zeros(256)
        for value, name in self.organ.structures.items():
            table[value] = per_structure.get(name, 0.0)
        function = fem.Function(self.cell_space)
        function.x.array[:] = self.cells_from_organ(table[self.organ.region])
        return function

    @cached_property
    def density(self) -> fem.Function:
        """Density of each cell, kg/mm³."""
        return self._cellwise({name: t.density_kg_mm3 for name, t in self.tissues.items()})

    @cached_property
    def bulk(self) -> fem.Function:
        """Bulk modulus of each cell, kPa; zero where the law carries its own."""
        return self._cellwise(
            {name: t.compressibility.bulk_kPa for name, t in self.tissues.items() if t.compressibility}
        )

    @cached_property
    def shear(self) -> fem.Function:
        """Initial shear modulus of each cell, kPa."""
        return self._cellwise({name: t.law.initial_shear_kPa for name, t in self.tissues.items()})

    @cached_property
    def gravity(self) -> fem.Constant:
        """Acceleration in the forms, mm/s²; may be scaled between solves."""
        return fem.Constant(self.mesh, self.gravity_mm_s2.copy())

    @cached_property
    def _groups(self) -> list[tuple[Tissue, list[str], dict[str, fem.Function]]]:
        """Tissues that share one form: the first of them, the structures, and the constants cell by cell."""
        groups: dict[tuple[type[Law], tuple[float, ...], str], list[str]] = {}
        for name, tissue in self.tissues.items():
            measure = tissue.compressibility.measure if tissue.compressibility else ""
            groups.setdefault((type(tissue.law), tissue.law.structure, measure), []).append(name)
        found = []
        for names in groups.values():
            first = self.tissues[names[0]]
            coefficients = {
                key: self._cellwise({name: self.tissues[name].law.parameters[key] for name in names})
                for key in first.law.parameters
            }
            found.append((first, names, coefficients))
        return found

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

    @cached_property
    def stiffness(self) -> list[tuple[fem.Constant, fem.Constant]]:
        """Normal and tangential stiffness of each attachment in the forms, kPa/mm; zero once divided."""
        values = [_stiffness_of(a) for a in self.attachments]
        return [(fem.Constant(self.mesh, n), fem.Constant(self.mesh, t)) for n, t in values]

    @cached_property
    def ds(self) -> ufl.Measure:
        """Reference area; subdomains are attachments, from `CAPSULE_ID` on capsules, from `PATCH_ID` on patches."""
        facets = [(i, a.facets) for i, a in enumerate(self.attachments)]
        facets += [(CAPSULE_ID + i, triangles) for i, (_, triangles) in enumerate(self._capsules)]
        facets += [(PATCH_ID + i, triangles) for i, triangles in enumerate(self.patches.values())]
        entities = self.domain.facet_domains(facets, len(self.organ.points))
        return ufl.Measure("ds", domain=self.mesh, subdomain_data=entities)

    @cached_property
    def dx(self) -> ufl.Measure:
        """Reference volume; subdomains are the groups of tissues that share one form."""
        cells = [(i, self._cells_of(names)) for i, (_, names, _) in enumerate(self._groups)]
        return ufl.Measure("dx", domain=self.mesh, subdomain_data=cells)

    def _cells_of(self, names: Iterable[str]) -> NDArray[np.int32]:
        values = [value for value, name in self.organ.structures.items() if name in set(names)]
        return np.flatnonzero(np.isin(self.cells_from_organ(self.organ.region), values)).astype(np.int32)

    @cached_property
    def grown(self) -> NDArray[np.bool_]:
        """Which triangles of `organ.exterior` are natural surface and no cut face, shape (k,)."""
        count = len(self.organ.points)
        return ~np.isin(facet_keys(self.organ.exterior, count), facet_keys(self.raw, count))

    @cached_property
    def _capsules(self) -> list[tuple[Membrane, Index]]:
        """Capsules and the exterior triangles they cover, those of one kind taken together."""
        owner = self.organ.region[self.organ.exterior_tets]
        covered: dict[Membrane, NDArray[np.bool_]] = {}
        for value, name in self.organ.structures.items():
            capsule = self.tissues[name].capsule if name in self.tissues else None
            if capsule is not None:
                own = self.grown & (owner == value)
                covered[capsule] = covered.get(capsule, np.zeros(len(owner), dtype=bool)) | own
        return [(c, self.organ.exterior[mask]) for c, mask in covered.items() if mask.any()]

    # ------------------------------------------------------------------ attachments

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
        if "stiffness" in self.__dict__:
            for attachment, constants in zip(self.attachments, self.stiffness, strict=True):
                for constant, value in zip(constants, _stiffness_of(attachment), strict=True):
                    constant.value[()] = value

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


def _stiffness_of(attachment: Attachment) -> tuple[float, float]:
    """Normal and tangential stiffness, kPa/mm; nothing once divided."""
    return (0.0, 0.0) if attachment.released else (attachment.normal_kPa_mm, attachment.tangential_kPa_mm)


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
