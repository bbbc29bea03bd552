from dataclasses import replace

import numpy as np
import pytest

from anatomy.mesh import OrganMesh
from solver.ablation import Applicator, prepare
from solver.actions import Ablate, Clamp, from_json
from solver.attachments import Attachment
from solver.body import Body
from solver.carried_vessels import CarriedTree, pedicle_of
from solver.circulation import Circulation
from solver.errors import SolverError
from solver.field import OperativeField
from solver.heat import BODY_TEMPERATURE_C, Arrhenius
from solver.heat_grid import HeatGrid
from solver.interactive import Interactive
from solver.tissues import blood, table
from solver.verification.blocks import kuhn_block

LIVER = table().thermal["liver"]


def grid(cells, edge, power=None, **more):
    shape = (cells,) * 3
    return HeatGrid(
        np.full(3, -edge * (cells // 2)), edge, np.zeros(shape, dtype=np.int16), (LIVER,), np.ones(shape),
        np.zeros(shape), np.zeros(shape) if power is None else power, **more,
    )  # fmt: skip


def test_a_point_source_settles_to_the_closed_form():
    """T = q exp(−r/λ)/(4π k r), the Green function of Pennes' equation; within a few cells the grid is not a point."""
    cells, edge, watts = 41, 1.0, 0.05
    power = np.zeros((cells,) * 3)
    power[20, 20, 20] = watts
    found = grid(cells, edge, power, rates=Arrhenius(threshold_C=1e3)).heated(400.0)
    k = LIVER.conductivity_W_m_K * 1e-3
    decay = np.sqrt(k / (LIVER.perfusion_1_s * blood().heat_per_volume_J_mm3_K))
    r = np.arange(7, 14) * edge
    exact = watts * np.exp(-r / decay) / (4 * np.pi * k * r)
    rise = found.temperature_C[27:34, 20, 20] - BODY_TEMPERATURE_C
    assert rise == pytest.approx(exact, rel=0.03)


def test_tissue_held_warm_dies_when_arrhenius_says():
    cells = 5
    warm = grid(cells, 2.0, temperature_C=np.full((cells,) * 3, 60.0), damage=np.zeros((cells,) * 3),
                boiled_J_mm3=np.zeros((cells,) * 3))  # fmt: skip
    assert not warm.heated(0.5).dead[2, 2, 2]
    found = warm.heated(3.6)
    rate = Arrhenius().rate(found.temperature_C[2, 2, 2])
    # It cools a little meanwhile; at 60 °C throughout it takes 3.45 s.
    assert found.damage[2, 2, 2] == pytest.approx(3.6 / 3.45, rel=0.35)
    assert found.damage[2, 2, 2] > 3.6 * rate


def test_energy_goes_into_heat_while_nothing_carries_it_away():
    cells, edge = 21, 1.5
    power = np.zeros((cells,) * 3)
    power[10, 10, 10] = 0.4
    calm = HeatGrid(
        np.zeros(3), edge, np.zeros((cells,) * 3, dtype=np.int16), (LIVER,), np.zeros((cells,) * 3),
        np.zeros((cells,) * 3), power,
    )  # fmt: skip
    found = calm.heated(10.0)
    stored = (found.temperature_C - BODY_TEMPERATURE_C).sum() * LIVER.heat_per_volume_J_mm3_K * edge**3
    boiled = found.boiled_J_mm3.sum() * edge**3
    assert stored + boiled == pytest.approx(4.0, rel=1e-6)
    assert boiled > 0
    assert found.temperature_C.max() <= 100.0 + 1e-9


@pytest.fixture(scope="module")
def organ():
    block = kuhn_block((80.0, 80.0, 80.0), (10, 10, 10))
    centre = block.points[block.tets].mean(axis=1) - 40.0
    region = np.where(np.linalg.norm(centre, axis=1) < 11.0, 2, 1).astype(np.uint8)
    return OrganMesh(block.points, block.tets, region, {1: "liver", 2: "liver_tumour"})


@pytest.fixture
def field(organ):
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 2] < 1e-9).all(axis=1)]
    body = Body(organ, attachments=[Attachment("wall", wall, 20.0, 20.0)], gravity_mm_s2=(0, 0, 0))
    return OperativeField(Interactive(body))


ACT = Ablate("antenna", (40.0, 40.0, 30.0), (40.0, 40.0, 80.0), 60.0, 300.0, shown_s=0.2)


class Vein:
    """A straight vein beside the tumour."""

    parent = np.array([-1, 0])
    radius = np.array([4.0, 4.0])

    def __init__(self, flowing=True):
        self.flowing = np.full(2, flowing)

    def points(self, positions):
        return np.array([[54.0, 40.0, 0.0], [54.0, 40.0, 80.0]])

    def carried(self, change):
        return self


def ablate(field, act=ACT):
    for _ in act.run(field):
        pass
    return field.events[-1].values


def test_an_ablation_kills_a_tumour_and_says_by_how_much(field):
    before = field.snapshot()
    hash_before = field.state_hash()
    found = ablate(field)
    assert 15.0 < found["lethal_ml"] < 60.0
    assert found["longest_mm"] >= found["shortest_mm"] > 25.0
    assert found["tumour_coverage"] == 1.0
    assert 1.0 < found["minimal_ablative_margin_mm"] < 15.0
    assert found["peak_C"] < 130.0
    assert "of the tumour 100 %" in field.events[-1].text
    dead = field.vertex_data["thermal_damage"] >= 1
    assert dead[np.linalg.norm(field.organ.points - 40.0, axis=1) < 8].all()
    hash_after = field.state_hash()
    field.restore(before)
    assert field.state_hash() == hash_before
    assert ablate(field) == found
    assert field.state_hash() == hash_after


def test_longer_heating_kills_more(field):
    before = field.snapshot()
    short = ablate(field, Ablate("a", ACT.tip_mm, ACT.entry_mm, 60.0, 60.0, shown_s=0.1))["lethal_ml"]
    field.restore(before)
    assert ablate(field)["lethal_ml"] > 1.5 * short


def test_a_vein_beside_the_tumour_saves_tissue_unless_it_is_clamped(field):
    before = field.snapshot()
    free = ablate(field)
    field.restore(before)
    field.vessels["hepatic_vein"] = Vein()
    beside = ablate(field)
    field.restore(before)
    field.vessels["hepatic_vein"] = Vein(flowing=False)
    clamped = ablate(field)
    assert beside["lethal_ml"] < 0.97 * free["lethal_ml"]
    assert clamped["lethal_ml"] == free["lethal_ml"]
    assert beside["minimal_ablative_margin_mm"] <= free["minimal_ablative_margin_mm"]


def test_clamped_inflow_lets_the_zone_grow(field):
    before = field.snapshot()
    free = ablate(field)["lethal_ml"]
    field.restore(before)
    field.tet_data["perfused"] = np.zeros(len(field.organ.tets))
    assert ablate(field)["lethal_ml"] > 1.1 * free


def test_the_grid_is_fine_enough(field):
    """Halving the volume of cells changes the lethal volume by less than a tenth."""
    applicator = Applicator("microwave", np.array(ACT.tip_mm), np.array([0.0, 0.0, 1.0]), 20.0, 1.0, 60.0)
    volumes = [
        prepare(field, applicator, edge_mm=edge, reach_mm=26.0).grid.heated(200.0).dead.sum() * edge**3
        for edge in (1.5, 1.2)
    ]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.1)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"power_W": 10_000.0}, "at most 150 W"),
        ({"kind": "laser"}, "one of microwave, radiofrequency"),
        ({"heating_s": 1e5}, "at most an hour"),
        ({"heating_s": 0.0}, "must be positive"),
        ({"entry_mm": (40.0, 40.0, 30.0)}, "same point"),
    ],
)
def test_nonsense_is_refused(more, message):
    with pytest.raises(SolverError, match=message):
        from_json({**ACT.to_json(), **more})


def test_an_applicator_outside_the_organ_is_refused_and_the_field_stays(field):
    before = field.state_hash()
    with pytest.raises(SolverError, match="outside the organ"):
        ablate(field, Ablate("a", (40.0, 40.0, -30.0), (40.0, 40.0, -80.0), 60.0, 60.0))
    assert field.state_hash() == before
    assert from_json(ACT.to_json()) == ACT


def test_time_without_inflow_is_that_of_the_ablation_not_of_its_picture(organ, field):
    pedicle = CarriedTree.pedicle(pedicle_of("liver"))
    vessels, fed = {pedicle.system: pedicle}, {pedicle.system: np.zeros(len(organ.tets), dtype=np.int64)}
    circulation = Circulation.of(organ, vessels, fed)
    under_way = OperativeField(field.live, vessels, fed, processes={"circulation": circulation})
    short = replace(ACT, heating_s=20.0, cooling_s=10.0)
    for act in (Clamp("clamp", organ="liver"), short):
        for _ in act.run(under_way):
            pass
    assert under_way.processes["circulation"].ischaemic_s == pytest.approx(30.0, abs=0.1)
