import numpy as np
import pytest

from solver.errors import SolverError
from solver.heat import Arrhenius, Bioheat
from solver.tissues import ThermalConstants, table
from solver.verification.blocks import kuhn_block

DRY = ThermalConstants(1000.0, 4000.0, 0.5, 0.0, "a test")


def bar(cells=20, length=20.0, names=None, region=None):
    return kuhn_block((length, 1, 1), (cells, 1, 1), names or {1: "liver"}, region)


def test_energy_is_conserved_where_no_blood_flows():
    """All the power of a source warms an insulated bar: ρ c V ΔT = P t."""
    organ = bar()
    heat = Bioheat(organ, {"liver": DRY}, damage=None)

    def source(points, time_s):
        return np.where(points[:, 0] < 5, 1e-3, 0.0)

    state = heat.run(10.0, 1.0, source)
    capacity = 1000e-9 * 4000
    energy = capacity * heat._volume @ (state.temperature_C - 37)
    assert energy == pytest.approx(heat.power_W(source) * 10.0, rel=1e-8)
    assert heat.power_W(source) > 0


def test_conduction_through_two_tissues_in_series():
    """The flux is the same in both: the fall of temperature goes as length over conductivity."""
    poor = ThermalConstants(1000.0, 4000.0, 0.1, 0.0, "a test")
    organ = bar(names={1: "good", 2: "poor"}, region=lambda c: np.where(c[:, 0] < 10, 1, 2).astype(np.uint8))
    x = organ.points[:, 0]
    ends = np.flatnonzero((x == 0) | (x == 20))
    heat = Bioheat(organ, {"good": DRY, "poor": poor}, held=(ends, np.where(x[ends] == 0, 50.0, 37.0)))
    temperature = heat.steady()
    expected = np.where(x <= 10, 50 - 13 / 6 * x / 10, 50 - 13 / 6 - 13 * 5 / 6 * (x - 10) / 10)
    assert np.allclose(temperature, expected, atol=1e-6)


def test_vessels_keep_their_temperature():
    names = {1: "liver", 2: "portal_vein"}
    organ = bar(names=names, region=lambda c: np.where(c[:, 0] > 15, 2, 1).astype(np.uint8))
    heat = Bioheat(organ, dict.fromkeys(names.values(), DRY), vessels=["portal_vein"])
    state = heat.run(5.0, 1.0, lambda points, t: np.full(len(points), 1e-3))
    inside = organ.points[:, 0] >= 15
    assert np.array_equal(state.temperature_C[inside], np.full(inside.sum(), 37.0))
    assert state.temperature_C[~inside].max() > 37.5


def test_dead_tissue_bleeds_no_more_and_grows_hotter():
    organ = bar()
    warm = np.flatnonzero(organ.points[:, 0] == 0)
    alive = Bioheat(organ, damage=None, held=(warm, 80.0))
    dying = Bioheat(organ, held=(warm, 80.0))
    cool, hot = alive.run(60.0, 1.0), dying.run(60.0, 1.0)
    assert hot.dead[warm].all()
    assert not hot.dead.all()
    assert cool.damage.max() == 0
    assert (hot.temperature_C >= cool.temperature_C - 1e-9).all()
    assert hot.temperature_C.max(initial=0, where=organ.points[:, 0] == 3) > 1 + cool.temperature_C.max(
        initial=0, where=organ.points[:, 0] == 3
    )


def test_undisturbed_tissue_stays_as_warm_as_blood_and_lives():
    state = Bioheat(bar()).run(100.0, 10.0)
    assert np.allclose(state.temperature_C, 37.0, atol=1e-9)
    assert state.damage.max() == 0
    assert Arrhenius().rate(42.9) == 0 < Arrhenius().rate(43.0)


def test_damage_follows_the_temperature_between_two_times():
    """A ramp from 50 to 70 °C against fine steps."""
    law = Arrhenius()
    before, after = np.array([58.0]), np.array([60.0])
    times = np.linspace(0, 1, 10001)
    exact = np.trapezoid(law.rate(58 + 2 * times), times)
    assert law.increase(before, after, 1.0)[0] == pytest.approx(exact, rel=1e-6)


def test_perfusion_and_heat_capacity_are_converted():
    liver = table().thermal["liver"]
    assert liver.perfusion_1_s == pytest.approx(860e-6 / 60 * 1079)
    assert liver.heat_per_volume_J_mm3_K == pytest.approx(1079e-9 * 3540)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Arrhenius(-1.0), "frequency_1_s is -1"),
        (lambda: ThermalConstants(1000.0, 0.0, 0.5, 0.0, "s"), "specific_heat_J_kg_K is 0"),
        (lambda: ThermalConstants(1000.0, 1.0, 0.5, -1.0, "s"), "perfusion_ml_min_kg is -1"),
        (lambda: Bioheat(bar(), vessels=["aorta"]), "no vessel 'aorta'"),
        (
            lambda: Bioheat(bar(names={1: "femur"})),
            "No thermal constants are published for the structure 'femur'",
        ),
        (lambda: Bioheat(bar(), {"spleen": DRY}), "'spleen', which the organ does not have"),
        (lambda: Bioheat(bar(), held=([10**6], 37.0)), "outside 0"),
        (lambda: Bioheat(bar(names={1: "lung_deflated_bit"})).step(None, 0.0), "time step is 0"),
        (lambda: Bioheat(bar()).step(Bioheat(bar()).begin(), 1.0, theta=0.2), "θ is 0.2"),
        (lambda: Bioheat(bar()).run(1.0, -1.0), "both must be positive"),
        (lambda: Bioheat(bar(), {"liver": DRY}).steady(), "Nothing carries the heat away"),
        (lambda: Bioheat(bar()).power_W(lambda p, t: np.full(len(p), np.nan)), "not finite everywhere"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises(SolverError, match=message):
        make()
