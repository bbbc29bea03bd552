"""Strain energies of soft tissue in UFL, and how each resists a change of volume.

A hyperelastic tissue stores the energy W(F) per reference volume, F = I + grad u, J = det F. Nearly
incompressible tissue is written as W = W_iso(C̄) + U(J) with C̄ = J^(-2/3) FᵀF (Flory 1961, Trans Faraday Soc
57:829), so that the law and its compressibility are two objects: a `Law` gives W_iso, a `Compressibility`
gives U(J) = K/2 g(J)² through its strain measure g. The same g serves the perturbed Lagrangian p g −
p²/(2K) of the mixed elements (Zienkiewicz & Taylor; Holzapfel 2000, Nonlinear Solid Mechanics, ch. 6 and 8)
and the nodal-averaged volume change of the live element. Stresses are kPa, lengths mm.

Parameters are numbers when a law is made, and may be replaced by cell-wise coefficients when its energy is
written: `Law.energy(F, parameters)`, so that all regions of one law share one compiled kernel.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import numpy as np
from scipy.special import roots_jacobi

from solver.backend import ufl
from solver.errors import SolverError


def _positive(law: object, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value > 0):
            raise SolverError(f"{type(law).__name__}: {name} is {value:g}; it must be a positive number.")


def _not_negative(law: object, **values: float) -> None:
    for name, value in values.items():
        if not (math.isfinite(value) and value >= 0):
            raise SolverError(f"{type(law).__name__}: {name} is {value:g}; it must be zero or positive.")


@dataclass(frozen=True)
class Compressibility:
    """Volumetric energy U(J) = K/2 g(J)².

    Parameters
    ----------
    bulk_kPa : float
        Bulk modulus K in kPa.
    measure : {"linear", "logarithmic"}
        g = J − 1 (penalty on the volume change) or g = ln J (which resists J → 0 without bound).
    """

    bulk_kPa: float
    measure: str = "linear"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bulk_kPa) and self.bulk_kPa > 0):
            raise SolverError(
                f"Compressibility: the bulk modulus is {self.bulk_kPa:g} kPa; it must be positive."
            )
        if self.measure not in ("linear", "logarithmic"):
            raise SolverError(
                f"Compressibility: measure '{self.measure}' is unknown; "
                "use 'linear' (J − 1) or 'logarithmic' (ln J)."
            )

    def strain(self, J: Any) -> Any:
        """Volumetric strain measure g(J), in UFL."""
        return J - 1 if self.measure == "linear" else ufl.ln(J)

    def energy(self, J: Any, bulk: Any = None) -> Any:
        """U(J) in kPa; `bulk` replaces K by a coefficient."""
        return (self.bulk_kPa if bulk is None else bulk) / 2 * self.strain(J) ** 2

    def mixed(self, J: Any, pressure: Any, bulk: Any = None) -> Any:
        """Perturbed Lagrangian p g(J) − p²/(2K) in kPa; its stationary p is K g(J), positive in expansion."""
        return pressure * self.strain(J) - pressure**2 / (2 * (self.bulk_kPa if bulk is None else bulk))


@dataclass(frozen=True)
class Law(ABC):
    """A strain energy; subclasses name their parameters as fields and write `energy`."""

    fibres: ClassVar[int] = 0
    isochoric: ClassVar[bool] = True

    @property
    def parameters(self) -> dict[str, float]:
        """Name and value of every constant, in the order of the law's signature."""
        return {f.name: float(getattr(self, f.name)) for f in fields(self)}

    @property
    def structure(self) -> tuple[float, ...]:
        """Constants that are compiled into the energy; laws that differ in them share no kernel."""
        return ()

    @property
    @abstractmethod
    def initial_shear_kPa(self) -> float:
        """Shear modulus of the undeformed tissue in kPa (the largest, where the law has directions)."""

    @abstractmethod
    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Energy per reference volume in kPa, in UFL, without the volumetric part.

        Parameters
        ----------
        F : UFL tensor, shape (3, 3)
            Deformation gradient.
        parameters : mapping, optional
            Coefficients in place of the law's own numbers.
        fibres : tuple of UFL vectors
            Unit fibre directions in the reference shape, as many as the law has.
        """


def isochoric_invariants(F: Any) -> tuple[Any, Any]:
    """First and second invariants of C̄ = J^(-2/3) FᵀF, in UFL."""
    C = F.T * F
    J = ufl.det(F)
    first = ufl.tr(C)
    second = (first**2 - ufl.tr(C * C)) / 2
    return J ** (-2 / 3) * first, J ** (-4 / 3) * second


@dataclass(frozen=True)
class NeoHookean(Law):
    """Neo-Hookean: W = µ/2 (Ī1 − 3) (Treloar 1943, Trans Faraday Soc 39:241; Rivlin 1948).

    Parameters
    ----------
    mu_kPa : float
        Shear modulus.
    """

    mu_kPa: float

    def __post_init__(self) -> None:
        _positive(self, mu_kPa=self.mu_kPa)

    @property
    def initial_shear_kPa(self) -> float:
        """µ."""
        return self.mu_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """µ/2 (Ī1 − 3)."""
        mu = (parameters or self.parameters)["mu_kPa"]
        return mu / 2 * (isochoric_invariants(F)[0] - 3)


@dataclass(frozen=True)
class MooneyRivlin(Law):
    """Mooney–Rivlin: W = c1 (Ī1 − 3) + c2 (Ī2 − 3) (Mooney 1940, J Appl Phys 11:582; Rivlin 1948).

    Parameters
    ----------
    c1_kPa, c2_kPa : float
        Constants; the initial shear modulus 2 (c1 + c2) must be positive and neither may be negative.
    """

    c1_kPa: float
    c2_kPa: float

    def __post_init__(self) -> None:
        _not_negative(self, c1_kPa=self.c1_kPa, c2_kPa=self.c2_kPa)
        _positive(self, **{"c1 + c2": self.c1_kPa + self.c2_kPa})

    @property
    def initial_shear_kPa(self) -> float:
        """2 (c1 + c2)."""
        return 2 * (self.c1_kPa + self.c2_kPa)

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """c1 (Ī1 − 3) + c2 (Ī2 − 3)."""
        values = parameters or self.parameters
        first, second = isochoric_invariants(F)
        return values["c1_kPa"] * (first - 3) + values["c2_kPa"] * (second - 3)


@dataclass(frozen=True)
class SaintVenantKirchhoff(Law):
    """Saint Venant–Kirchhoff: W = λ/2 tr(E)² + µ E:E with E = (FᵀF − I)/2 (Holzapfel 2000, § 6.5).

    Carries its own resistance to volume change, so no `Compressibility` is added. It softens without bound in
    compression: for small strains only.

    Parameters
    ----------
    lambda_kPa, mu_kPa : float
        Lamé constants.
    """

    lambda_kPa: float
    mu_kPa: float
    isochoric: ClassVar[bool] = False

    def __post_init__(self) -> None:
        _positive(self, mu_kPa=self.mu_kPa)
        if not self.lambda_kPa > -2 / 3 * self.mu_kPa:
            raise SolverError(
                f"SaintVenantKirchhoff: λ = {self.lambda_kPa:g} kPa gives no positive bulk modulus; "
                "it must exceed −2µ/3."
            )

    @property
    def initial_shear_kPa(self) -> float:
        """µ."""
        return self.mu_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """λ/2 tr(E)² + µ E:E."""
        values = parameters or self.parameters
        E = (F.T * F - ufl.Identity(3)) / 2
        return values["lambda_kPa"] / 2 * ufl.tr(E) ** 2 + values["mu_kPa"] * ufl.inner(E, E)


# Nodes of the quadrature for fractional powers: 1e-9 relative for squared stretches between 1/4 and 4.
_POWER_NODES = 10


def _power_trace(first: Any, second: Any, exponent: float) -> Any:
    """Trace of C̄^exponent from the invariants of an isochoric C̄ (det C̄ = 1), without its eigenvalues.

    x^(−f) = 2 sin(πf)/π ∫ (1−s)^(−f) (1+s)^(f−1) / [(1−s) + (1+s) x] ds over −1…1 for 0 < f < 1, by
    Gauss–Jacobi quadrature (Higham 2008, Functions of Matrices, § 7.3.1). The trace of C̄ⁿ (a I + b C̄)⁻¹
    at each node is rational in the invariants. The result is smooth where stretches coincide, at rest above
    all; formulas through eigenvalues are not. The invariants of the inverse of C̄ are its own exchanged.
    """
    if exponent < 0:
        first, second = second, first
    whole = math.ceil(abs(exponent) - 1e-12)
    fraction = whole - abs(exponent)
    if fraction < 1e-9:
        return _powers([3.0, first, first**2 - 2 * second], first, second, whole)
    # Where the two exponents add up to −1, SciPy divides 0 by 0 in an entry that it does not use.
    with np.errstate(invalid="ignore"):
        nodes, weights = roots_jacobi(_POWER_NODES, -fraction, fraction - 1)
    total: Any = 0.0
    for s, w in zip(nodes.tolist(), weights.tolist(), strict=True):
        a, b = 1 - s, 1 + s
        parts = [
            3 * a**2 + 2 * a * b * first + b**2 * second,
            a**2 * first + 2 * a * b * second + 3 * b**2,
            a**2 * (first**2 - 2 * second) + a * b * (first * second - 3) + b**2 * first,
        ]
        determinant = a**3 + a**2 * b * first + a * b**2 * second + b**3
        total = total + w * _powers(parts, first, second, whole) / determinant
    return 2 * math.sin(math.pi * fraction) / math.pi * total


def _powers(traces: list[Any], first: Any, second: Any, power: int) -> Any:
    """Trace of M C̄^power from those of M, M C̄ and M C̄², by the theorem of Cayley and Hamilton."""
    while len(traces) <= power:
        traces.append(first * traces[-1] - second * traces[-2] + traces[-3])
    return traces[power]


@dataclass(frozen=True)
class Ogden(Law):
    """Ogden: W = Σ 2 µ_p/α_p² (λ̄1^α_p + λ̄2^α_p + λ̄3^α_p − 3) in the isochoric principal stretches (Ogden 1972, Proc
    R Soc A 326:565; scaled as in Miller & Chinzei 2002, J Biomech 35:483, so that Σ µ_p is the shear
    modulus).

    Its exponents are compiled into its kernels, which only the reference tier allows for.

    Parameters
    ----------
    mu_kPa : tuple of float
        Positive, one a term.
    alpha : tuple of float
        Exponents, not zero.
    """

    mu_kPa: tuple[float, ...]
    alpha: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.alpha or len(self.alpha) != len(self.mu_kPa):
            raise SolverError("Ogden: give as many exponents α as moduli µ, and at least one.")
        _positive(self, **{f"µ{i + 1}": mu for i, mu in enumerate(self.mu_kPa)})
        for exponent in self.alpha:
            if not (math.isfinite(exponent) and abs(exponent) > 1e-6):
                raise SolverError(f"Ogden: an exponent α is {exponent:g}; it must be finite and not zero.")

    @property
    def parameters(self) -> dict[str, float]:
        """The moduli."""
        return {f"mu{i + 1}_kPa": float(mu) for i, mu in enumerate(self.mu_kPa)}

    @property
    def structure(self) -> tuple[float, ...]:
        """The exponents."""
        return self.alpha

    @property
    def initial_shear_kPa(self) -> float:
        """Σ µ_p."""
        return float(sum(self.mu_kPa))

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Sum over the terms."""
        exponents = getattr(self, "alpha", None)
        if exponents is None:
            raise SolverError("Ogden tissue cannot be used live: its exponents are part of its kernel.")
        values = parameters or self.parameters
        first, second = isochoric_invariants(F)
        return sum(
            2 * values[f"mu{i + 1}_kPa"] / a**2 * (_power_trace(first, second, a / 2) - 3)
            for i, a in enumerate(exponents)
        )


def _stretching(strain: Any, stiffness: Any, exponent: Any) -> Any:
    """Energy of a fibre family that resists stretch only: k/(2b) (exp(b E²) − 1) for E > 0."""
    pulled = ufl.max_value(strain, 0.0)
    return stiffness / (2 * exponent) * (ufl.exp(exponent * pulled**2) - 1)


@dataclass(frozen=True)
class Guccione(Law):
    """Transversely isotropic Fung-type law: W = C/2 (exp Q − 1),
    Q = bf Eff² + bt (Ess² + Enn² + 2 Esn²) + 2 bfs (Efs² + Efn²), with the Green strain E of the isochoric C̄
    (Guccione 1991, J Biomech Eng 113:42; isochoric split as in Land 2015, Proc R Soc A 471:20150641).

    Without the split the incompressible law stalls at a third of a physiological load on every mesh.

    Parameters
    ----------
    C_kPa : float
    bf, bt, bfs : float
        Along the fibre, across it, and in shear between.
    """

    C_kPa: float
    bf: float
    bt: float
    bfs: float
    fibres: ClassVar[int] = 1

    def __post_init__(self) -> None:
        _positive(self, C_kPa=self.C_kPa, bf=self.bf, bt=self.bt, bfs=self.bfs)

    @property
    def initial_shear_kPa(self) -> float:
        """C/2 times the largest exponent."""
        return self.C_kPa / 2 * max(self.bf, self.bt, self.bfs)

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """C/2 (exp Q − 1), Q written with the fibre direction alone."""
        values = parameters or self.parameters
        E = (ufl.det(F) ** (-2 / 3) * F.T * F - ufl.Identity(3)) / 2
        along = E * fibres[0]
        ff, row = ufl.inner(fibres[0], along), ufl.inner(along, along)
        across = ufl.inner(E, E) - 2 * row + ff**2
        Q = values["bf"] * ff**2 + values["bt"] * across + 2 * values["bfs"] * (row - ff**2)
        return values["C_kPa"] / 2 * (ufl.exp(Q) - 1)


@dataclass(frozen=True)
class HolzapfelGasserOgden(Law):
    """Artery wall with two dispersed fibre families: W = c/2 (Ī1 − 3) + Σ k1/(2 k2) (exp(k2 E_i²) − 1),
    E_i = κ (Ī1 − 3) + (1 − 3 κ)(I4i − 1), fibres under stretch only (Holzapfel 2000, J Elast 61:1; Gasser
    2006, J R Soc Interface 3:15). Fibre stretches are not split: a split lets them swell (Nolan 2014, J
    Mech Behav Biomed Mater 39:48).

    Parameters
    ----------
    c_kPa, k1_kPa : float
    k2 : float
    kappa : float
        Dispersion, 0 (aligned) to 1/3 (isotropic).
    """

    c_kPa: float
    k1_kPa: float
    k2: float
    kappa: float = 0.0
    fibres: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _positive(self, c_kPa=self.c_kPa, k2=self.k2)
        _not_negative(self, k1_kPa=self.k1_kPa)
        if not 0 <= self.kappa <= 1 / 3:
            raise SolverError(
                f"HolzapfelGasserOgden: the dispersion κ is {self.kappa:g}; it lies between 0 and 1/3."
            )

    @property
    def initial_shear_kPa(self) -> float:
        """c of the matrix."""
        return self.c_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Matrix and two families of fibres."""
        values = parameters or self.parameters
        first, kappa = isochoric_invariants(F)[0], values["kappa"]
        total = values["c_kPa"] / 2 * (first - 3)
        for fibre in fibres:
            stretch = ufl.inner(F * fibre, F * fibre)
            strain = kappa * (first - 3) + (1 - 3 * kappa) * (stretch - 1)
            total += _stretching(strain, values["k1_kPa"], values["k2"])
        return total


@dataclass(frozen=True)
class HolzapfelOgden(Law):
    """Myocardium: W = a/(2b) exp(b (Ī1 − 3)) + Σ_{f,s} a_i/(2 b_i) (exp(b_i (I4i − 1)²) − 1)
    + a_fs/(2 b_fs) (exp(b_fs I8fs²) − 1), fibres and sheets under stretch only (Holzapfel & Ogden 2009,
    Phil Trans R Soc A 367:3445).

    Parameters
    ----------
    a_kPa, af_kPa, as_kPa, afs_kPa : float
        Matrix, fibre, sheet and their coupling; zero leaves a term out.
    b, bf, bs, bfs : float
        Their exponents.
    """

    a_kPa: float
    b: float
    af_kPa: float
    bf: float
    as_kPa: float
    bs: float
    afs_kPa: float
    bfs: float
    fibres: ClassVar[int] = 2

    def __post_init__(self) -> None:
        _positive(self, b=self.b, bf=self.bf, bs=self.bs, bfs=self.bfs)
        _not_negative(self, a_kPa=self.a_kPa, af_kPa=self.af_kPa, as_kPa=self.as_kPa, afs_kPa=self.afs_kPa)

    @property
    def initial_shear_kPa(self) -> float:
        """a of the matrix."""
        return self.a_kPa

    def energy(
        self, F: Any, parameters: Mapping[str, Any] | None = None, fibres: tuple[Any, ...] = ()
    ) -> Any:
        """Matrix, fibres, sheets and their coupling."""
        v = parameters or self.parameters
        along, across = F * fibres[0], F * fibres[1]
        matrix = v["a_kPa"] / (2 * v["b"]) * (ufl.exp(v["b"] * (isochoric_invariants(F)[0] - 3)) - 1)
        shear = v["afs_kPa"] / (2 * v["bfs"]) * (ufl.exp(v["bfs"] * ufl.inner(along, across) ** 2) - 1)
        fibre = _stretching(ufl.inner(along, along) - 1, v["af_kPa"], v["bf"])
        sheet = _stretching(ufl.inner(across, across) - 1, v["as_kPa"], v["bs"])
        return matrix + fibre + sheet + shear


@dataclass(frozen=True)
class Membrane:
    """Stretch-only incompressible neo-Hookean membrane, W = h µ/2 (tr C_s + 1/det C_s − 3) per area.

    C_s is the right Cauchy–Green tensor of the surface; the thickness follows from incompressibility
    (Holzapfel 2000, § 6.6 in plane stress; Green & Adkins 1970). It has no bending stiffness.

    Parameters
    ----------
    mu_kPa : float
        Shear modulus of the capsule, a third of its Young modulus.
    thickness_mm : float
    """

    mu_kPa: float
    thickness_mm: float

    def __post_init__(self) -> None:
        _positive(self, mu_kPa=self.mu_kPa, thickness_mm=self.thickness_mm)

    @property
    def stiffness_kPa_mm(self) -> float:
        """µ h."""
        return self.mu_kPa * self.thickness_mm

    @staticmethod
    def energy(F: Any, normal: Any, stiffness: Any) -> Any:
        """Energy per reference area in kPa mm; `normal` is the reference unit normal, `stiffness` is µ h."""
        C = F.T * F
        trace = ufl.tr(C) - ufl.inner(normal, C * normal)
        cofactor = ufl.cofac(F) * normal
        area_squared = ufl.inner(cofactor, cofactor)
        return stiffness / 2 * (trace + 1 / area_squared - 3)


LAWS: dict[str, type[Law]] = {
    "neo-Hookean": NeoHookean,
    "Mooney-Rivlin": MooneyRivlin,
    "Saint Venant-Kirchhoff": SaintVenantKirchhoff,
    "Ogden": Ogden,
    "Guccione": Guccione,
    "Holzapfel-Gasser-Ogden": HolzapfelGasserOgden,
    "Holzapfel-Ogden": HolzapfelOgden,
}


@dataclass(frozen=True)
class PronySeries:
    """Relaxation of quasi-linear viscoelastic tissue: G(t)/G0 = 1 − Σ g_i (1 − exp(−t/τ_i)) (Fung 1993,
    Biomechanics, § 7.6).

    Parameters
    ----------
    weights : tuple of float
        g_i, positive, together less than one.
    times_s : tuple of float
        τ_i in seconds.
    """

    weights: tuple[float, ...]
    times_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.weights) != len(self.times_s) or not self.weights:
            raise SolverError("PronySeries: give as many weights as times, and at least one.")
        _positive(self, **{f"g{i + 1}": g for i, g in enumerate(self.weights)})
        _positive(self, **{f"τ{i + 1}": t for i, t in enumerate(self.times_s)})
        if not sum(self.weights) < 1:
            raise SolverError(
                f"PronySeries: the weights add up to {sum(self.weights):g}; below one some stiffness stays."
            )

    def relaxation(self, time_s: float) -> float:
        """G(t)/G0 after a step of strain."""
        pairs = zip(self.weights, self.times_s, strict=True)
        return 1.0 - sum(g * (1.0 - math.exp(-time_s / t)) for g, t in pairs)

    def advance(self, history: list[Any], step: Any, elapsed_s: float) -> list[Any]:
        """Stress kept by each branch after a time step in which the instantaneous stress changed by `step`.

        Exact for a stress that changes linearly over the step (Taylor 1970, Int J Numer Methods Eng 2:45;
        Simo 1987): h_i ← exp(−Δt/τ_i) h_i + g_i (1 − exp(−Δt/τ_i)) τ_i/Δt step. The total is (1 − Σ g_i)
        times the instantaneous stress plus Σ h_i.
        """
        new = []
        for kept, g, t in zip(history, self.weights, self.times_s, strict=True):
            decay = math.exp(-elapsed_s / t)
            new.append(decay * kept + g * (1.0 - decay) * t / elapsed_s * step)
        return new
