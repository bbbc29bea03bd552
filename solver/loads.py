"""Loads: what an element takes beside the body itself, and dead tractions, following pressures, forces in the volume.

A traction acts per reference area and keeps its direction: its work is ∫ t·u dA. A pressure pushes against
the deformed surface; by Nanson's formula its virtual work is −∫ p J F⁻ᵀN·δu dA (Holzapfel 2000, § 8.3).
Units: kPa.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from solver.backend import fem, ufl
from solver.body import Body
from solver.errors import SolverError


class Load(Protocol):
    """What acts on a body; ligaments, moved anchors and contact are loads as well.

    A load may also have `support(body) -> (vertices, stiffness)`, which counts where it is asked whether the body is
    held; `at(time_s)`, which brings it to a time before a step of `solver.dynamics`; and `bind(element)`, for forces
    that are not written as a form (`solver.contact`).
    """

    @property
    def conservative(self) -> bool:
        """Whether its tangent is symmetric."""

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> ufl.Form | int:
        """Virtual work at displacement u in direction v; `share` scales loads that grow."""


@dataclass(frozen=True)
class Traction:
    """A dead traction on a patch of the body.

    Parameters
    ----------
    patch : str
        A name of `Body.patches`.
    traction_kPa : tuple of float
        Force per reference area, LPS.
    """

    patch: str
    traction_kPa: tuple[float, float, float]
    conservative = True

    def __post_init__(self) -> None:
        traction = np.asarray(self.traction_kPa, dtype=np.float64)
        if traction.shape != (3,) or not np.isfinite(traction).all():
            raise SolverError(
                f"The traction on '{self.patch}' is {self.traction_kPa!r} kPa; give three finite numbers."
            )

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> ufl.Form:
        """Virtual work of the load, scaled by `share`, at displacement u in direction v."""
        traction = fem.Constant(body.mesh, np.asarray(self.traction_kPa, dtype=np.float64))
        return share * ufl.inner(traction, v) * body.patch(self.patch)


@dataclass(frozen=True)
class Pressure:
    """A pressure on a patch of the body that follows its deformation.

    Parameters
    ----------
    patch : str
        A name of `Body.patches`.
    pressure_kPa : float
        Positive pushes into the tissue.
    """

    patch: str
    pressure_kPa: float
    conservative = False

    def __post_init__(self) -> None:
        if not np.isfinite(self.pressure_kPa):
            raise SolverError(
                f"The pressure on '{self.patch}' is {self.pressure_kPa} kPa; give a finite number."
            )

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> ufl.Form:
        """Virtual work of the load, scaled by `share`, at displacement u in direction v."""
        F = ufl.Identity(3) + ufl.grad(u)
        pressure = fem.Constant(body.mesh, float(self.pressure_kPa))
        normal = ufl.FacetNormal(body.mesh)
        return -share * pressure * ufl.inner(ufl.det(F) * ufl.inv(F).T * normal, v) * body.patch(self.patch)


@dataclass(frozen=True)
class BodyForce:
    """A dead force per reference volume.

    Parameters
    ----------
    field : callable
        From the UFL coordinates of the stress-free shape to a UFL vector, mN/mm³ (that is kPa/mm).
    """

    field: Callable[[Any], Any]
    conservative = True

    def virtual_work(self, body: Body, u: Any, v: Any, share: fem.Constant) -> ufl.Form:
        """Virtual work of the load, scaled by `share`, at displacement u in direction v."""
        force = self.field(ufl.SpatialCoordinate(body.mesh))
        return share * ufl.inner(force, v) * body.dx(metadata={"quadrature_degree": 4})
