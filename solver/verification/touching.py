"""A tool on live tissue (`solver.live_contact`): against the reference tier's contact, and against statics.

A ball of 6 mm radius on a soft block that stands on an elastic bed. The reference tier finds the contact on the same
mesh and the same linear tetrahedra by augmented Lagrangians, at three points a facet; the live tier has more points a
facet and a penalty. What the tool pushes, the bed must carry; a ball drawn along slides at Coulomb's limit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from solver.attachments import Attachment
from solver.body import Body
from solver.contact import Contact
from solver.equilibrium import Equilibrium
from solver.interactive import Interactive
from solver.live_contact import LiveContact
from solver.rigid import Sphere
from solver.tools import Tool
from solver.verification.blocks import kuhn_block
from solver.verification.row import Row

Array = NDArray[np.float64]

RADIUS_MM, DEPTH_MM, FRICTION = 6.0, 1.5, 0.3
SIZE_MM = (20.0, 20.0, 10.0)
START_MM = np.array([10.0, 10.0, SIZE_MM[2] + RADIUS_MM])
BED_KPA_MM = 100.0


def block(cells: tuple[int, int, int]) -> Body:
    """The block on its bed, with the patch "top"."""
    organ = kuhn_block(SIZE_MM, cells)
    corners = organ.points[organ.exterior]
    floor, top = (organ.exterior[(corners[:, :, 2] == at).all(axis=1)] for at in (0.0, SIZE_MM[2]))
    bed = Attachment("bed", floor, BED_KPA_MM, BED_KPA_MM)
    return Body(organ, attachments=[bed], gravity_mm_s2=(0, 0, 0), patches={"top": top})


def pressed(body: Body, friction: float = 0.0) -> Interactive:
    """Live tissue at rest under the ball at its depth."""
    live = Interactive(body)
    live.add_load("ball", LiveContact.on("ball", body, Tool.ball(RADIUS_MM, START_MM), friction))
    for k in range(1, 7):
        live.steer("ball", START_MM - np.array([0, 0, DEPTH_MM * k / 6]))
        live.step(iterations=4)
    live.settle(1e-4)
    return live


def carried_mN(live: Interactive) -> Array:
    """Force of the bed on the tissue, shape (3,)."""
    facets = live.body.attachments[0].facets
    a, b, c = (live.body.reference_points[facets[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
    return np.asarray(-BED_KPA_MM * area @ live.displacement[facets].mean(axis=1))


def run() -> list[Row]:
    """Force against the reference tier, balance of forces, and the limit of friction."""
    return [*_pressing((10, 10, 5)), _sliding()]


def run_full() -> list[Row]:
    """Force on a finer mesh."""
    return _pressing((14, 14, 7))


def _pressing(cells: tuple[int, int, int]) -> list[Row]:
    body = block(cells)
    live = pressed(body)
    force = 1000 * live.step(iterations=0).forces_N["ball"]
    ball = Contact("ball", "top", Sphere(START_MM, RADIUS_MM))
    solver = Equilibrium(body, "P1-averaged", [ball])
    ball.move((0, 0, -DEPTH_MM))
    solver.solve(steps=2)
    reference = float(solver.element.bound[0].force_mN[2])
    what = f"{cells[0]} × {cells[1]} × {cells[2]} cells"
    depth = live.loads["ball"]
    assert isinstance(depth, LiveContact)
    return [
        Row.compare(
            "live contact", f"force on the ball, {what} (mN)", -force[2], -reference, 0.03, "solver.contact"
        ),
        Row.compare(
            "live contact", f"force of ball and bed together, {what} (mN)",
            float(np.linalg.norm(force + carried_mN(live))), 0.0, 0.5, "statics",
        ),
        Row.at_most(
            "live contact", f"depth of the tissue in the ball, {what} (mm)",
            depth.penetration_mm(live.positions), 0.0, 0.1, "no tissue in the tool",
        ),
    ]  # fmt: skip


def _sliding() -> Row:
    live = pressed(block((8, 8, 4)), FRICTION)
    for k in range(1, 21):
        live.steer("ball", START_MM + np.array([0.15 * k, 0, -DEPTH_MM]))
        live.step(iterations=6)
    contact = live.loads["ball"]
    assert isinstance(contact, LiveContact)
    push, normal = contact.pushed_N(live.positions)
    rubbed = np.linalg.norm(contact.forces_N(live.positions)["ball"] - push)
    return Row.compare(
        "live contact", "friction over normal force while the ball slides", float(rubbed) / normal, FRICTION,
        0.05, "Coulomb's law",
    )  # fmt: skip
