"""Averaged: the live discretisation, its energy, forces and tangent, in loops over cells without Python.

Linear tetrahedra with nodal-averaged dilatation (`solver.averaging` has the theory): cell by cell the isochoric
energy of the tissue's own law and the unaveraged share of its volumetric energy, vertex by vertex the averaged
rest, on the outer surface capsule and supports, and gravity. It is the energy of
`Equilibrium(body, element="P1-averaged")`, term by term, in the OrganMesh order of vertices, but for cells that are
crushed below what the reference tier takes for a solution (`solver.resistance`).

The averaged volumetric stiffness couples second neighbours. `Averaged.tangent` therefore keeps the pressures p as
unknowns: [[A, Bᵀ], [B, −C]] with C = V/((1 − β) K), whose elimination of p gives exactly the averaged stiffness
A + Bᵀ C⁻¹ B while every entry joins first neighbours only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from solver.averaging import STABILISATION
from solver.body import Body
from solver.errors import SolverError
from solver.kernels import Kernel, call_kernel, law_kernel, membrane_kernel
from solver.pairs import both
from solver.resistance import NEVER_BELOW, RESISTS_BELOW, resist, stiffen

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
# Below this many tetrahedra a second thread costs more than it saves.
WORTH_TWO_THREADS = 8_000
FAST = {"contract", "reassoc", "nsz"}  # not nnan: values that are not finite must stay visible


@dataclass(frozen=True)
class _Points:
    """Cells that share a kernel: tissue of one law, or capsule seen from the cells behind it."""

    kernel: Kernel
    cells: Ints
    weights: Array  # volume of tissue, mm³, or area of capsule, mm²
    parameters: Array
    tissue: bool

    def half(self, which: int) -> slice:
        """The first or the second half of the cells."""
        middle = len(self.cells) // 2
        return slice(middle) if which == 0 else slice(middle, None)


class Averaged:
    """Energy of a body on nodal-averaged linear tetrahedra.

    Parameters
    ----------
    body : Body

    Attributes
    ----------
    pattern : scipy.sparse.csr_array, shape (3 n + q, 3 n + q)
        Upper triangle of the tangent: displacements (x, y, z of vertex 0, …), then one pressure for each average.
    node : ndarray, shape (3 n + q,), int64
        Vertex each unknown belongs to.
    weight : ndarray, shape (n, 3), float64
        Weight of the tissue at the vertices, mN.

    Raises
    ------
    SolverError
        If a tissue's law carries its own change of volume, or has fibres.
    """

    def __init__(self, body: Body) -> None:
        self.body = body
        organ = body.organ
        self.tets = organ.tets
        self._averages()
        self._measure(body.reference_points)
        self._number()

    def reshaped(self, points: Array, body: Body | None = None) -> Averaged:
        """The same discretisation on another stress-free shape.

        Parameters
        ----------
        points : ndarray, shape (n, 3), float64
            Stress-free vertex positions, mm.
        body : Body, optional
            The body on that shape, where there is one already.
        """
        other = copy.copy(self)
        other.body = self.body if body is None else body
        other._measure(points)
        return other

    def _measure(self, points: Array) -> None:
        """Everything that depends on the stress-free shape."""
        self.points = points
        self.volumes, self.inverse = np.empty(len(self.tets)), np.empty((len(self.tets), 9))
        _shapes(np.ascontiguousarray(points), self.tets, self.volumes, self.inverse)
        self._average_volume = np.bincount(self.average.ravel(), np.repeat(self.volumes / 4, 4))
        self._groups = [*self._tissue_points(), *self._capsule_points()]
        self.weight = self._gravity()
        self.refresh_supports()
        self._work = _Work.of(len(self.tets), len(self._average_volume))

    @property
    def vertices(self) -> int:
        """Number of vertices n."""
        return len(self.points)

    # What `solver.reduced` samples and sums of this energy.

    @property
    def groups(self) -> tuple[_Points, ...]:
        """Cells of tissue and facets of capsule, by kernel."""
        return tuple(self._groups)

    @property
    def average_volume(self) -> Array:
        """V_i of each average, mm³, shape (q,)."""
        return self._average_volume

    @property
    def average_stiffness(self) -> Array:
        """(1 − β) K of each average, kPa, shape (q,)."""
        return self._average_stiffness

    @property
    def supports(self) -> sparse.csr_array:
        """Stiffness of the attachments, mN/mm, shape (3 n, 3 n)."""
        return self._supports

    # ------------------------------------------------------------------ what the body is made of

    def _structure_table(self, values: Mapping[str, float]) -> Array:
        """Per-tetrahedron value from one number a structure."""
        table = np.zeros(256)
        for label, name in self.body.organ.structures.items():
            table[label] = values.get(name, 0.0)
        return table[self.body.organ.region]

    def _averages(self) -> None:
        """One average a vertex and tissue of equal bulk modulus, as in `solver.averaging`."""
        for name, tissue in self.body.tissues.items():
            if tissue.law.fibres:
                raise SolverError(
                    f"The live tier has no fibres, which the law of '{name}' needs; use Equilibrium for this tissue."
                )
            if tissue.compressibility is None or tissue.compressibility.measure != "linear":
                raise SolverError(
                    f"The live tier needs the volumetric energy K/2 (J − 1)², which the tissue of '{name}' does "
                    "not have; give it another tissue or use Equilibrium."
                )
        bulk = {n: t.compressibility.bulk_kPa for n, t in self.body.tissues.items() if t.compressibility}
        self._bulk = self._structure_table(bulk)
        moduli, tissue_number = np.unique(self._bulk, return_inverse=True)
        pair = self.tets * len(moduli) + tissue_number[:, None]
        there = np.zeros(self.body.organ.points.shape[0] * len(moduli), dtype=bool)
        there[pair] = True
        keys = np.flatnonzero(there)
        self.average = (np.cumsum(there) - 1)[pair].astype(np.int64)
        self._average_vertex = keys // len(moduli)
        self._average_stiffness = (1 - STABILISATION) * moduli[keys % len(moduli)]

    def _tissue_points(self) -> list[_Points]:
        tissues = self.body.tissues
        laws = {(type(t.law), t.law.structure) for t in tissues.values()}
        found = []
        for law, structure in sorted(laws, key=lambda kind: (kind[0].__name__, kind[1])):
            mine = {n: t for n, t in tissues.items() if (type(t.law), t.law.structure) == (law, structure)}
            names = tuple(next(iter(mine.values())).law.parameters)
            values = [n for n, s in self.body.organ.structures.items() if s in mine]
            cells = np.flatnonzero(np.isin(self.body.organ.region, values))
            columns = [
                self._structure_table({s: t.law.parameters[p] for s, t in mine.items()}) for p in names
            ]
            parameters = np.stack([*columns, self._bulk], axis=1)[cells]
            kernel = law_kernel(law, names, STABILISATION, structure)
            found.append(_Points(kernel, cells, self.volumes[cells], np.ascontiguousarray(parameters), True))
        return found

    def _capsule_points(self) -> list[_Points]:
        organ = self.body.organ
        stiffness = self._structure_table(
            {n: t.capsule.stiffness_kPa_mm for n, t in self.body.tissues.items() if t.capsule is not None}
        )[organ.exterior_tets]
        covered = np.flatnonzero((stiffness > 0) & self.body.grown)
        if not len(covered):
            return []
        normal, area = self._normals_areas(organ.exterior[covered])
        parameters = np.ascontiguousarray(np.column_stack([normal, stiffness[covered]]))
        return [_Points(membrane_kernel(), organ.exterior_tets[covered], area, parameters, False)]

    def _normals_areas(self, facets: Ints) -> tuple[Array, Array]:
        a, b, c = (self.points[facets[:, i]] for i in range(3))
        cross = np.cross(b - a, c - a)
        twice = np.linalg.norm(cross, axis=1)
        return cross / twice[:, None], twice / 2

    def _gravity(self) -> Array:
        """Weight at the vertices, mN, shape (n, 3)."""
        density = self._structure_table({n: t.density_kg_mm3 for n, t in self.body.tissues.items()})
        mass = np.bincount(
            self.tets.ravel(), np.repeat(density * self.volumes / 4, 4), minlength=self.vertices
        )
        return mass[:, None] * self.body.gravity_mm_s2

    def refresh_supports(self) -> None:
        """Read the attachments of the body anew, after one was divided."""
        self._held: tuple[Ints, Array] | None = None
        rows, columns, blocks = [], [], []
        for held in self.body.attachments:
            if held.released:
                continue
            normal, area = self._normals_areas(held.facets)
            across = np.eye(3) - normal[:, :, None] * normal[:, None, :]
            stiffness = held.normal_kPa_mm * (np.eye(3) - across) + held.tangential_kPa_mm * across
            for i in range(3):
                for j in range(3):
                    rows.append(held.facets[:, i])
                    columns.append(held.facets[:, j])
                    blocks.append(stiffness * (area / (6.0 if i == j else 12.0))[:, None, None])
        n = 3 * self.vertices
        if not rows:
            self._supports = sparse.csr_array((n, n))
            return
        row = 3 * np.concatenate(rows)[:, None, None] + np.arange(3)[None, :, None]
        column = 3 * np.concatenate(columns)[:, None, None] + np.arange(3)[None, None, :]
        data = np.concatenate(blocks)
        row, column = np.broadcast_to(row, data.shape), np.broadcast_to(column, data.shape)
        self._supports = sparse.csr_array((data.ravel(), (row.ravel(), column.ravel())), shape=(n, n))

    # ------------------------------------------------------------------ energy and forces

    def evaluate(self, displacement: Array, floor: float) -> tuple[float, Array, float]:
        """Energy and its gradient.

        Parameters
        ----------
        displacement : ndarray, shape (n, 3), float64
            From the stress-free shape, mm.
        floor : float
            Smallest volume ratio J a cell may have.

        Returns
        -------
        energy : float
            µJ; infinite where a cell is below the floor.
        gradient : ndarray, shape (n, 3), float64
            Internal minus external forces, mN; not filled where the energy is infinite.
        minimum_jacobian : float
        """
        work = self._work
        gradient = np.zeros((2, *displacement.shape))
        smallest = self._deformed(displacement, work)
        if not smallest > floor:
            return np.inf, gradient[0], smallest
        energies = np.zeros((2, len(self._groups)))

        def add_forces(half: int) -> None:
            for k, group in enumerate(self._groups):
                mine = group.half(half)
                energies[half, k] = _forces(
                    group.kernel.stress, group.cells[mine], group.weights[mine], group.parameters[mine],
                    group.tissue, work.F, self.inverse, self.tets, self.average, work.pressure, gradient[half],
                )  # fmt: skip

        averaged = _average_pressure(
            work.dilated[0], self._average_volume, self._average_stiffness, work.pressure
        )
        both(lambda: add_forces(0), lambda: add_forces(1), self._worth)
        held = self._supports @ displacement.ravel()
        total = gradient[0]
        total += gradient[1]
        total += held.reshape(-1, 3) - self.weight
        energy = 0.5 * float(held @ displacement.ravel()) - float(np.vdot(self.weight, displacement))
        energy += averaged + float(energies.sum()) + self._resisted(work, total)
        return (energy if np.isfinite(energy) else np.inf), total, smallest

    def _resisted(self, work: _Work, gradient: Array) -> float:
        """Add the forces of crushed cells (`solver.resistance`); returns their energy."""
        low = np.flatnonzero(work.J < RESISTS_BELOW)
        if not len(low):
            return 0.0
        if not work.J[low].min() > NEVER_BELOW:
            return np.inf
        weight = self._bulk[low] * self.volumes[low]
        return resist(work.F[low], work.J[low], self.inverse[low], weight, self.tets[low], gradient)

    @property
    def _worth(self) -> bool:
        return len(self.tets) > WORTH_TWO_THREADS

    def _deformed(self, displacement: Array, work: _Work) -> float:
        """Fill F, J and the current volumes of the averages; returns the smallest J."""
        middle, smallest = len(self.tets) // 2, np.empty(2)
        displacement = np.ascontiguousarray(displacement)

        def deform(half: int) -> None:
            mine = slice(middle) if half == 0 else slice(middle, None)
            smallest[half] = _deform(
                displacement, self.tets[mine], self.inverse[mine], self.volumes[mine], self.average[mine],
                work.F[mine], work.J[mine], work.dilated[half],
            )  # fmt: skip

        both(lambda: deform(0), lambda: deform(1), self._worth)
        work.dilated[0] += work.dilated[1]
        return float(smallest.min())  # not a number where one of them is not

    def strain_energy(self, displacement: Array, floor: float) -> float:
        """Energy stored in tissue and capsule alone, µJ: without supports and weight; arguments as of `evaluate`."""
        whole = self.evaluate(displacement, floor)[0]
        held = float(displacement.ravel() @ (self._supports @ displacement.ravel()))
        return whole - 0.5 * held + float(np.vdot(self.weight, displacement))

    # ------------------------------------------------------------------ tangent

    def _number(self) -> None:
        """Numbers of the unknowns, the tangent's pattern, and where each cell's entries go in it."""
        n, q = 3 * self.vertices, len(self._average_vertex)
        self.node = np.concatenate([np.repeat(np.arange(self.vertices), 3), self._average_vertex])
        self.negative = np.arange(n + q) >= n
        indptr, indices, self._cell_entry = _numbered(self.tets, self.average, self.vertices, q)
        self.pattern = sparse.csr_array(
            (np.ones(len(indices), dtype=np.int8), indices, indptr), shape=(n + q, n + q)
        )

    def _entries(self, row: Ints, column: Ints) -> Ints:
        """Where entries of the upper triangle are in the pattern's data."""
        pattern = self.pattern
        return _places(pattern.indptr, pattern.indices, row.astype(np.int64), column.astype(np.int64))

    def _held_entries(self) -> tuple[Ints, Array]:
        """Entries of the supports in the pattern, and their values; found once for each set of supports."""
        if self._held is None:
            held = sparse.triu(self._supports).tocoo()
            self._held = self._entries(held.row, held.col), held.data
        return self._held

    def tangent(self, displacement: Array) -> Array:
        """Values of the tangent at a displacement, in the order of `pattern`.

        Parameters
        ----------
        displacement : ndarray, shape (n, 3), float64
            From the stress-free shape, mm.

        Returns
        -------
        ndarray, shape (pattern.nnz,), float64
        """
        work = _Work.of(len(self.tets), len(self._average_volume))
        self._deformed(displacement, work)
        _average_pressure(work.dilated[0], self._average_volume, self._average_stiffness, work.pressure)
        values = np.zeros((2, self.pattern.nnz))

        def add_tangent(half: int) -> None:
            for group in self._groups:
                mine = group.half(half)
                _tangent(
                    group.kernel.tangent, group.cells[mine], group.weights[mine], group.parameters[mine],
                    group.tissue, work.F, self.inverse, self.average, work.pressure, self._cell_entry,
                    values[half],
                )  # fmt: skip

        both(lambda: add_tangent(0), lambda: add_tangent(1), self._worth)
        total = values[0]
        total += values[1]
        entries, held = self._held_entries()
        np.add.at(total, entries, held)
        diagonal = self.pattern.indptr[3 * self.vertices : -1]
        total[diagonal] -= self._average_volume / self._average_stiffness
        low = np.flatnonzero((work.J < RESISTS_BELOW) & (work.J > NEVER_BELOW))
        if len(low):
            weight = self._bulk[low] * self.volumes[low]
            stiffen(work.F[low], work.J[low], self.inverse[low], weight, self._cell_entry[low], total)
        return total

    def add_blocks(self, values: Array, vertices: Ints, blocks: Array) -> None:
        """Add a stiffness that joins single vertices to themselves to values of the tangent.

        Parameters
        ----------
        values : ndarray, shape (pattern.nnz,), float64
            Changed in place.
        vertices : ndarray, shape (k,), int64
            May name one more than once.
        blocks : ndarray, shape (k, 3, 3), float64
            Symmetric, mN/mm.
        """
        i, j = np.triu_indices(3)
        first = 3 * np.asarray(vertices, dtype=np.int64)[:, None]
        np.add.at(values, self._entries((first + i).ravel(), (first + j).ravel()), blocks[:, i, j].ravel())


@dataclass(frozen=True)
class _Work:
    """Arrays of one evaluation; what the two halves of the cells add up has a row for each."""

    F: Array
    J: Array
    dilated: Array
    pressure: Array

    @staticmethod
    def of(cells: int, averages: int) -> _Work:
        return _Work(np.empty((cells, 9)), np.empty(cells), np.empty((2, averages)), np.empty(averages))


@numba.njit(nogil=True, cache=True)
def _shapes(points, tets, volumes, inverse):  # type: ignore[no-untyped-def]
    """Volume of each cell, and the inverse of the matrix whose columns are its three edges from the first corner."""
    m = np.empty(9)
    for e in range(len(tets)):
        for j in range(3):
            for i in range(3):
                m[3 * i + j] = points[tets[e, j + 1], i] - points[tets[e, 0], i]
        cof = inverse[e]
        _cofactor(m, cof)
        determinant = m[0] * cof[0] + m[1] * cof[1] + m[2] * cof[2]
        volumes[e] = determinant / 6.0
        for i in range(3):
            cof[4 * i] /= determinant
            for j in range(i + 1, 3):
                upper, lower = cof[3 * i + j], cof[3 * j + i]
                cof[3 * i + j], cof[3 * j + i] = lower / determinant, upper / determinant


@numba.njit(nogil=True, cache=True)
def _tets_around(tets, vertices):  # type: ignore[no-untyped-def]
    """For each vertex (first, list) the corners 4 e + i of tetrahedra that it is."""
    first = np.zeros(vertices + 1, dtype=np.int64)
    for v in tets.ravel():
        first[v + 1] += 1
    first = np.cumsum(first)
    listed, following = np.empty(tets.size, dtype=np.int64), first.copy()
    flat = tets.ravel()
    for k in range(len(flat)):
        listed[following[flat[k]]] = k
        following[flat[k]] += 1
    return first, listed


@numba.njit(nogil=True, cache=True)
def _numbered(tets, average, vertices, averages):  # type: ignore[no-untyped-def]
    """Rows and columns of the upper triangle, and the place in it of each of a cell's 12 × 16 upper entries."""
    first, listed = _tets_around(tets, vertices)
    n = 3 * vertices
    indptr = np.zeros(n + averages + 1, dtype=np.int32)
    entry = np.empty((len(tets), 126), dtype=np.int32)
    seen, column_of = np.full(vertices, -1, dtype=np.int64), np.empty(vertices, dtype=np.int64)
    marked, pressure_of = np.full(averages, -1, dtype=np.int64), np.empty(averages, dtype=np.int64)
    indices = np.empty(256 * vertices + averages, dtype=np.int32)
    near, pressures = np.empty(vertices, dtype=np.int64), np.empty(averages, dtype=np.int64)
    at = 0
    for a in range(vertices):
        count = beside = 0
        for k in listed[first[a] : first[a + 1]]:
            e = k // 4
            for i in range(4):
                b, p = tets[e, i], average[e, i]
                if b > a and seen[b] != a:
                    seen[b] = a
                    near[count] = b
                    count += 1
                if marked[p] != a:
                    marked[p] = a
                    pressures[beside] = p
                    beside += 1
        near[:count], pressures[:beside] = np.sort(near[:count]), np.sort(pressures[:beside])
        for c in range(count):
            column_of[near[c]] = 3 + 3 * c
        column_of[a] = 0
        for c in range(beside):
            pressure_of[pressures[c]] = 3 + 3 * count + c
        if at + 3 * (3 + 3 * count + beside) > len(indices) - averages:
            indices = np.concatenate((indices, np.empty(len(indices), dtype=np.int32)))
        base = at
        for i in range(3):
            indptr[3 * a + i] = at
            for j in range(i, 3):
                indices[at] = 3 * a + j
                at += 1
            for c in range(count):
                for j in range(3):
                    indices[at] = 3 * near[c] + j
                    at += 1
            for c in range(beside):
                indices[at] = n + pressures[c]
                at += 1
        wide = 3 + 3 * count + beside
        for k in listed[first[a] : first[a + 1]]:
            e, mine = k // 4, k % 4
            for i in range(3):
                # Row i begins at its own diagonal.
                row, local = base + i * wide - i * (i - 1) // 2 - i, 3 * mine + i
                for other in range(4):
                    b = tets[e, other]
                    if b >= a:
                        for j in range(i if b == a else 0, 3):
                            low, high = min(local, 3 * other + j), max(local, 3 * other + j)
                            entry[e, 16 * low - low * (low + 1) // 2 + high] = row + column_of[b] + j
                    entry[e, 16 * local - local * (local + 1) // 2 + 12 + other] = (
                        row + pressure_of[average[e, other]]
                    )
    for p in range(averages):
        indptr[n + p] = at
        indices[at] = n + p
        at += 1
    indptr[n + averages] = at
    return indptr, indices[:at].copy(), entry


@numba.njit(nogil=True, cache=True)
def _places(indptr, indices, row, column):  # type: ignore[no-untyped-def]
    """Where entries are in the data of a matrix with sorted columns."""
    found = np.empty(len(row), dtype=np.int64)
    for k in range(len(row)):
        first = indptr[row[k]]
        found[k] = first + np.searchsorted(indices[first : indptr[row[k] + 1]], column[k])
    return found


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _deform(u, tets, inverse, volumes, average, F, J, dilated):  # type: ignore[no-untyped-def]
    """Deformation gradients, volume ratios, and the current volume of each average; returns the smallest J."""
    dilated[:] = 0.0
    smallest = np.inf
    for e in range(len(tets)):
        a, b, c, d = tets[e]
        D = inverse[e]
        for i in range(3):
            x, y, z = u[b, i] - u[a, i], u[c, i] - u[a, i], u[d, i] - u[a, i]
            for j in range(3):
                F[e, 3 * i + j] = x * D[j] + y * D[3 + j] + z * D[6 + j]
            F[e, 4 * i] += 1.0
        f = F[e]
        J[e] = (
            f[0] * (f[4] * f[8] - f[5] * f[7])
            - f[1] * (f[3] * f[8] - f[5] * f[6])
            + f[2] * (f[3] * f[7] - f[4] * f[6])
        )
        # A value that is not a number stays the smallest: nothing compares below it.
        if J[e] < smallest or J[e] != J[e]:
            smallest = J[e]
        share = volumes[e] * J[e] / 4
        for i in range(4):
            dilated[average[e, i]] += share
    return smallest


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _average_pressure(dilated, volume, stiffness, pressure):  # type: ignore[no-untyped-def]
    """Pressure of each average from its current volume; returns the averaged volumetric energy."""
    energy = 0.0
    for i in range(len(volume)):
        strain = dilated[i] / volume[i] - 1.0
        pressure[i] = stiffness[i] * strain
        energy += 0.5 * pressure[i] * strain * volume[i]
    return energy


@numba.njit(nogil=True, cache=True, inline="always")
def _cofactor(f, cof):  # type: ignore[no-untyped-def]
    cof[0], cof[1], cof[2] = f[4] * f[8] - f[5] * f[7], f[5] * f[6] - f[3] * f[8], f[3] * f[7] - f[4] * f[6]
    cof[3], cof[4], cof[5] = f[2] * f[7] - f[1] * f[8], f[0] * f[8] - f[2] * f[6], f[1] * f[6] - f[0] * f[7]
    cof[6], cof[7], cof[8] = f[1] * f[5] - f[2] * f[4], f[2] * f[3] - f[0] * f[5], f[0] * f[4] - f[1] * f[3]


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _forces(  # type: ignore[no-untyped-def]
    kernel, cells, weights, parameters, tissue, F, inverse, tets, average, pressure, gradient
):  # fmt: skip
    """Add the forces of a group of cells; returns its energy."""
    result, constants, nothing = np.empty(10), np.empty(9 + parameters.shape[1]), np.zeros(12)
    cof = np.empty(9)
    energy = 0.0
    for k in range(len(cells)):
        e = cells[k]
        result[:] = 0.0
        constants[:9] = F[e]
        constants[9:] = parameters[k]
        call_kernel(  # type: ignore[call-arg]
            kernel, result.ctypes.data, constants.ctypes.data, nothing.ctypes.data
        )
        energy += weights[k] * result[0]
        if tissue:
            mean = 0.25 * (
                pressure[average[e, 0]]
                + pressure[average[e, 1]]
                + pressure[average[e, 2]]
                + pressure[average[e, 3]]
            )
            _cofactor(F[e], cof)
            for i in range(9):
                result[1 + i] += mean * cof[i]
        D = inverse[e]
        for i in range(3):
            total = 0.0
            for v in range(3):
                force = 0.0
                for j in range(3):
                    force += result[1 + 3 * i + j] * D[3 * v + j]
                force *= weights[k]
                gradient[tets[e, v + 1], i] += force
                total += force
            gradient[tets[e, 0], i] -= total
    return energy


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _tangent(  # type: ignore[no-untyped-def]
    kernel, cells, weights, parameters, tissue, F, inverse, average, pressure, entry, values
):  # fmt: skip
    """Add the tangent of a group of cells, upper triangle in the order of its 12 displacements and 4 pressures."""
    second, constants, nothing = np.empty(81), np.empty(9 + parameters.shape[1]), np.zeros(12)
    gradient, half = np.empty((4, 3)), np.empty((9, 12))
    local, cof = np.empty((12, 16)), np.empty(9)
    for k in range(len(cells)):
        e = cells[k]
        second[:] = 0.0
        constants[:9] = F[e]
        constants[9:] = parameters[k]
        call_kernel(  # type: ignore[call-arg]
            kernel, second.ctypes.data, constants.ctypes.data, nothing.ctypes.data
        )
        gradient[1:] = inverse[e].reshape(3, 3)
        for j in range(3):
            gradient[0, j] = -(gradient[1, j] + gradient[2, j] + gradient[3, j])
        _project(second, gradient, weights[k], half, local)
        local[:, 12:] = 0.0
        if tissue:
            mean = 0.0
            for i in range(4):
                mean += 0.25 * pressure[average[e, i]]
            _cofactor(F[e], cof)
            _add_pressure(F[e], cof, gradient, weights[k], mean, local)
        at = 0
        for i in range(12):
            for j in range(i, 16):
                # A row and column swapped by the numbering fall on the same entry of the upper triangle.
                values[entry[e, at]] += local[i, j]
                at += 1


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _project(second, gradient, weight, half, local):  # type: ignore[no-untyped-def]
    """Displacement block of a cell from the 9 × 9 second derivative."""
    for i in range(9):
        for b in range(4):
            for m in range(3):
                half[i, 3 * b + m] = (
                    second[9 * i + 3 * m] * gradient[b, 0]
                    + second[9 * i + 3 * m + 1] * gradient[b, 1]
                    + second[9 * i + 3 * m + 2] * gradient[b, 2]
                )
    for a in range(4):
        for i in range(3):
            for column in range(12):
                local[3 * a + i, column] = weight * (
                    gradient[a, 0] * half[3 * i, column]
                    + gradient[a, 1] * half[3 * i + 1, column]
                    + gradient[a, 2] * half[3 * i + 2, column]
                )


@numba.njit(nogil=True, cache=True, fastmath=FAST)
def _add_pressure(f, cof, gradient, weight, mean, local):  # type: ignore[no-untyped-def]
    """Coupling to the four pressures, V/4 cof F ∇N, and the geometric stiffness of their mean."""
    for a in range(4):
        for i in range(3):
            coupling = 0.0
            for j in range(3):
                coupling += 0.25 * weight * cof[3 * i + j] * gradient[a, j]
            local[3 * a + i, 12:] = coupling
        for b in range(4):
            g, h = gradient[a], gradient[b]
            x, y, z = g[1] * h[2] - g[2] * h[1], g[2] * h[0] - g[0] * h[2], g[0] * h[1] - g[1] * h[0]
            # ∂cof F_ij/∂F_kl = ε_ikm ε_jln F_mn, so the block is ε_ikm w_m with w = F (∇N_a × ∇N_b).
            w0, w1, w2 = (
                weight * mean * (f[0] * x + f[1] * y + f[2] * z),
                weight * mean * (f[3] * x + f[4] * y + f[5] * z),
                weight * mean * (f[6] * x + f[7] * y + f[8] * z),
            )
            local[3 * a, 3 * b + 1] += w2
            local[3 * a, 3 * b + 2] -= w1
            local[3 * a + 1, 3 * b] -= w2
            local[3 * a + 1, 3 * b + 2] += w0
            local[3 * a + 2, 3 * b] += w1
            local[3 * a + 2, 3 * b + 1] -= w0
