import numpy as np
import pytest

from solver.errors import SolverError
from solver.growth import Proliferation, TumourGrowth
from solver.verification.blocks import kuhn_block

TUMOUR = Proliferation(0.13, 0.025)


def halves():
    return kuhn_block(
        (20, 4, 4),
        (20, 4, 4),
        {1: "brain", 2: "skull"},
        lambda c: np.where(c[:, 0] < 10, 1, 2).astype(np.uint8),
    )


def test_logistic_growth_is_exact_where_cells_are_everywhere():
    organ = kuhn_block((2, 2, 2), (2, 2, 2), {1: "brain"})
    growth = TumourGrowth(organ, {"brain": TUMOUR})
    start, days = 0.1, 40.0
    density = growth.run(np.full(len(organ.points), start), days, step_days=5.0)
    factor = np.exp(0.025 * days)
    assert np.allclose(density, start * factor / (1 + start * (factor - 1)), rtol=1e-10)
    assert growth.cells_ml(density) == pytest.approx(8e-3 * density[0])


def test_wandering_alone_keeps_the_number_of_cells():
    organ = halves()
    growth = TumourGrowth(organ, {"brain": Proliferation(0.13, 0.0)})
    seed = growth.seed((2, 2, 2), 2.0, share=0.5)
    spread = growth.run(seed, 30.0)
    assert growth.cells_ml(spread) == pytest.approx(growth.cells_ml(seed), rel=1e-8)
    assert spread.max() < seed.max()


def test_cells_do_not_enter_what_is_not_given():
    organ = halves()
    growth = TumourGrowth(organ, {"brain": TUMOUR})
    seed = growth.seed((8, 2, 2), 2.0)
    density = growth.run(seed, 100.0)
    assert (density[organ.points[:, 0] > 10] == 0).all()
    assert density.min() >= 0
    assert density.max() <= 1
    assert growth.visible_ml(density) > growth.visible_ml(seed) > growth.visible_ml(seed, 0.8) > 0


def test_front_speed_is_that_of_fisher():
    assert TUMOUR.front_mm_day == pytest.approx(0.1140, abs=5e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Proliferation(-1.0, 0.1), "diffusivity_mm2_day is -1"),
        (lambda: TumourGrowth(halves(), {"liver": TUMOUR}), "'liver', which the organ does not have"),
        (lambda: TumourGrowth(halves(), {"brain": Proliferation(0.0, 1.0)}), "can enter no tissue"),
        (lambda: TumourGrowth(halves(), {"brain": TUMOUR}).seed((0, 0, 0), 0.0), "positive radius"),
        (lambda: TumourGrowth(halves(), {"brain": TUMOUR}).run(np.zeros(1), 0.0), "both must be positive"),
    ],
)
def test_bad_input_is_refused_in_a_sentence(make, message):
    with pytest.raises(SolverError, match=message):
        make()
