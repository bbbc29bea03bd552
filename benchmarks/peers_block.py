"""The block shear of the verification problems, solved by other finite-element libraries on the same mesh.

Both peers get the same vertices and tetrahedra, quadratic displacements, the same strain energy
µ/2 (J^(-2/3) I1 − 3) + K/2 (J − 1)², one load step and full Newton; each uses the sparse direct solver that it
brings by default.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anatomy.mesh import OrganMesh

Array = NDArray[np.float64]


def installed(package: str) -> bool:
    """Whether a peer can be imported here."""
    return find_spec(package) is not None


def scikit_fem_reaction(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> float:
    """Reaction of the moved face along y, mN, by scikit-fem.

    Parameters
    ----------
    block : OrganMesh
        The brick, mm.
    shear_modulus, bulk_modulus : float
        kPa.
    shift : float
        Displacement of the far x face along y, mm; the near one is clamped.
    """
    import skfem
    from skfem.helpers import ddot, det, grad, identity, inv, mul, transpose

    mesh = skfem.MeshTet(block.points.T.copy(), block.tets.T.copy())
    basis = skfem.Basis(mesh, skfem.ElementVector(skfem.ElementTetP2()), intorder=2)

    def state(w: Any) -> tuple[Any, Any, Any, Any]:
        gradient = grad(w["u"])
        stretch = gradient + identity(gradient)
        return stretch, det(stretch), transpose(inv(stretch)), ddot(stretch, stretch)

    @skfem.LinearForm
    def residual(v: Any, w: Any) -> Any:
        F, J, H, I1 = state(w)
        stress = shear_modulus * J ** (-2 / 3) * (F - I1 / 3 * H) + bulk_modulus * (J - 1) * J * H
        return ddot(stress, grad(v))

    @skfem.BilinearForm
    def tangent(u: Any, v: Any, w: Any) -> Any:
        F, J, H, I1 = state(w)
        dF = grad(u)
        trace = ddot(H, dF)
        turned = mul(H, mul(transpose(dF), H))
        isochoric = dF - 2 / 3 * trace * (F - I1 / 3 * H) - 2 / 3 * ddot(F, dF) * H + I1 / 3 * turned
        volumetric = (2 * J - 1) * J * trace * H - (J - 1) * J * turned
        return ddot(shear_modulus * J ** (-2 / 3) * isochoric + bulk_modulus * volumetric, grad(v))

    far = block.points[:, 0].max()
    clamped = basis.get_dofs(lambda x: np.isclose(x[0], 0.0))
    moved = basis.get_dofs(lambda x: np.isclose(x[0], far))
    along_y = moved.all(["u^2"])
    held = np.concatenate([clamped.all(), moved.all()])
    goal = basis.zeros()
    goal[along_y] = shift
    u = basis.zeros()
    for _ in range(25):
        known = {"u": basis.interpolate(u)}
        force, stiffness = residual.assemble(basis, **known), tangent.assemble(basis, **known)
        step = skfem.solve(*skfem.condense(stiffness, -force, x=goal - u, D=held))
        u = u + step
        if np.abs(step).max() < 1e-10:
            return float(residual.assemble(basis, u=basis.interpolate(u))[along_y].sum())
    raise RuntimeError("scikit-fem did not converge on the block shear")


def felupe_reaction(block: OrganMesh, shear_modulus: float, bulk_modulus: float, shift: float) -> float:
    """Reaction of the moved face along y, mN, by FElupe; arguments as in `scikit_fem_reaction`."""
    import felupe

    linear = felupe.Mesh(block.points, block.tets, cell_type="tetra")
    mesh = linear.add_midpoints_edges()
    region = felupe.RegionQuadraticTetra(mesh)
    field = felupe.FieldContainer([felupe.Field(region, dim=3)])
    far = block.points[:, 0].max()
    boundaries = {
        "clamped": felupe.Boundary(field[0], fx=0.0),
        "still": felupe.Boundary(field[0], fx=far, skip=(0, 1, 0)),
        "moved": felupe.Boundary(field[0], fx=far, skip=(1, 0, 1), value=shift),
    }
    solid = felupe.SolidBody(felupe.NeoHooke(mu=shear_modulus, bulk=bulk_modulus), field)
    dofs, free = felupe.dof.partition(field, boundaries)
    ext = felupe.dof.apply(field, boundaries, dofs)
    result = felupe.newtonrhapson(items=[solid], dof0=dofs, dof1=free, ext0=ext, verbose=0, tol=1e-9)
    return float(felupe.tools.force(result.x, result.fun, boundaries["moved"])[1])
