"""Loads and cuts together: an incision that opens and is sutured, and loads that live through a cut."""

import numpy as np
import pytest

from solver.actions import Hold, InsertNeedle, Insufflate, Suture, Tilt
from solver.anchors import Anchors
from solver.attachments import Attachment
from solver.body import Body
from solver.cutting import Plane, cut
from solver.field import OperativeField
from solver.interactive import Interactive
from solver.materials import Compressibility, NeoHookean
from solver.pneumoperitoneum import free_surface
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block
from tests.solver.carrying import carry_out
from tests.solver.opened import opened_at

ORGAN = kuhn_block((60, 30, 30), (12, 6, 6))


@pytest.fixture(scope="module")
def live():
    plain = Tissue("plain", NeoHookean(3.0), Compressibility(150.0), 1e-6, "test")
    x = ORGAN.points[ORGAN.exterior][:, :, 0]
    walls = [
        Attachment("left", ORGAN.exterior[(x < 1e-9).all(axis=1)], 20.0, 20.0),
        Attachment("right", ORGAN.exterior[(x > 60 - 1e-9).all(axis=1)], 20.0, 20.0),
    ]
    return Interactive(Body(ORGAN, {"liver": plain}, walls, gravity_mm_s2=(0, 9810.0, 0)))


@pytest.fixture
def field(live):
    return OperativeField(live)


def opening(field, topology):
    """Largest distance between the two sides of the cut, mm."""
    old = len(topology.before.points)
    way = field.live.positions[old:] - field.live.positions[topology.parents[old:, 0]]
    return float(np.linalg.norm(way, axis=1).max())


def test_a_suture_closes_an_incision(field):
    # From in front halfway through; the block sags between its walls, and the cut gapes behind where it is pulled.
    topology = opened_at(ORGAN, 30.0, 15.0)
    field.change(topology)
    field.live.grasp("hook", (60.0, 0.0, 15.0), 14.0)
    field.live.move("hook", (66.0, -2.0, 15.0))
    field.live.settle(5e-3)
    open_mm = opening(field, topology)
    assert open_mm > 2.0
    at = field.live.positions
    stitches = []
    for number, z in enumerate((5.0, 15.0, 25.0)):
        left = at[np.linalg.norm(ORGAN.points - [25.0, 0.0, z], axis=1).argmin()]
        right = at[: len(ORGAN.points)][np.linalg.norm(ORGAN.points - [35.0, 0.0, z], axis=1).argmin()]
        stitches.append(Suture(f"stitch {number}", (tuple(left), tuple(right)), 10.0, 6.0, 1.0))
    frame = carry_out(field, *stitches, Hold(1.0))
    assert frame.state == "converged"
    ways = [field.live.loads[s.name].lengths_mm(field.live.positions)[0] for s in stitches]
    assert ways == pytest.approx([6.0] * 3, abs=0.2)
    assert all(field.live.loads[s.name].tensions_N(field.live.positions)[0] > 0 for s in stitches)


def test_a_stitch_set_before_a_cut_holds_its_sides_together(field):
    before = field.snapshot()
    bites = ((24.0, 30.0, 15.0), (40.0, 30.0, 15.0))
    apart = {}
    for stitched in (False, True):
        field.restore(before)
        if stitched:
            carry_out(field, Suture("stitch", bites, 0.05, duration_s=0.3), Hold(0.3))
        places = Anchors.at(field.organ, ORGAN.points, bites, "Bite")
        topology = cut(
            field.organ, field.live.positions, Plane((31.3, 0.0, 0.0), (1.0, 0.15, 0.1)),
            shapes=[field.live.body.reference_points],
        )  # fmt: skip
        set_mm = np.linalg.norm(np.diff(places.points(field.live.positions), axis=0))
        field.change(topology)
        assert carry_out(field, Hold(2.0)).state == "converged"
        now_mm = np.linalg.norm(np.diff(places.carried(topology).points(field.live.positions), axis=0))
        apart[stitched] = float(set_mm), float(now_mm)
    # The halves sag from their walls, lean on each other above and gape below, where the bites are, one on either side.
    assert apart[False][0] == pytest.approx(16.0, abs=0.02)
    assert apart[False][1] > 16.5
    threads = field.live.loads["stitch"]
    assert not threads.lost.any()
    assert threads.tensions_N(field.live.positions)[0] > 0.02
    assert apart[True][1] == pytest.approx(apart[True][0], abs=0.02)


def test_gas_weight_and_a_needle_live_through_a_cut(field):
    carry_out(
        field,
        Insufflate(10.0, 0.3),
        Tilt(20.0, "left side down", duration_s=0.3),
        InsertNeedle("needle", (12.0, -2.0, 14.0), (12.0, 18.0, 16.0), 20.0, puncture_N=0.2),
    )
    topology = cut(
        field.organ, field.live.positions, Plane((35.2, 0.0, 0.0), (1.0, 0.1, 0.2)),
        shapes=[field.live.body.reference_points],
    )  # fmt: skip
    crossed = len(field.live.loads["needle"].shaft)
    field.change(topology)
    frame = carry_out(field, Hold(2.0))
    assert frame.state == "converged"
    body, loads = field.live.body, field.live.loads
    free = {tuple(sorted(f)) for f in free_surface(body).tolist()}
    assert {tuple(sorted(f)) for f in loads["pneumoperitoneum"].facets.tolist()} == free
    assert loads["posture"].mass_kg.sum() == pytest.approx(body.mass_kg, rel=1e-6)
    assert len(loads["needle"].shaft) == crossed
    assert loads["needle"].organ is body.organ
    # Every load together still balances what the supports hold.
    pushed = sum(load.evaluate(field.live.positions)[1].sum(axis=0) for load in loads.values())
    assert np.isfinite(pushed).all()
