import numpy as np
import pytest

from solver.errors import SolverError
from solver.materials import (
    LAWS,
    Compressibility,
    Guccione,
    HolzapfelGasserOgden,
    HolzapfelOgden,
    Membrane,
    MooneyRivlin,
    NeoHookean,
    Ogden,
    PronySeries,
    SaintVenantKirchhoff,
)
from solver.verification.point import first_piola

ISOTROPIC = [
    NeoHookean(2.0),
    MooneyRivlin(0.7, 0.4),
    SaintVenantKirchhoff(3.0, 2.0),
    Ogden((0.842, 0.3), (-4.7, 1.3)),
]
FIBROUS = [
    Guccione(0.876, 18.48, 3.58, 1.627),
    HolzapfelGasserOgden(3.0, 2.3632, 0.8393, 0.1),
    HolzapfelOgden(0.059, 8.023, 18.472, 16.026, 2.481, 11.12, 0.216, 11.436),
]
F = np.array([[1.1, 0.05, -0.1], [0.02, 0.95, 0.08], [0.04, -0.06, 1.05]])
AXES = ([1.0, 0, 0], [0, 1.0, 0])


def turned(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.array([[1.0, 0, 0], [0, c, -s], [0, s, c]])


def stress(law, gradient):
    return first_piola(law, gradient, AXES[: law.fibres])


@pytest.mark.parametrize("law", [*ISOTROPIC, *FIBROUS], ids=lambda law: type(law).__name__)
def test_laws_are_objective_and_free_of_stress_at_rest(law):
    assert np.abs(stress(law, np.eye(3))).max() < 1e-12
    Q = turned(0.7)
    assert np.allclose(stress(law, Q @ F), Q @ stress(law, F), atol=1e-12)
    cauchy = stress(law, F) @ F.T
    assert np.allclose(cauchy, cauchy.T, atol=1e-12)


@pytest.mark.parametrize("law", ISOTROPIC, ids=lambda law: type(law).__name__)
def test_initial_shear_modulus_is_the_slope_at_rest(law):
    shear = np.eye(3)
    shear[0, 1] = 1e-6
    assert stress(law, shear)[0, 1] / 1e-6 == pytest.approx(law.initial_shear_kPa, rel=1e-5)


@pytest.mark.parametrize("law", [law for law in [*ISOTROPIC, *FIBROUS] if type(law).isochoric][:2])
def test_isochoric_laws_do_not_resist_swelling(law):
    assert np.abs(stress(law, 1.2 * np.eye(3))).max() < 1e-12


def test_guccione_is_the_sum_over_the_axes():
    """Against the textbook sum over fibre, sheet and normal components, by a difference quotient."""
    law = Guccione(0.876, 18.48, 3.58, 1.627)

    def energy(gradient):
        J = np.linalg.det(gradient)
        E = (J ** (-2 / 3) * gradient.T @ gradient - np.eye(3)) / 2
        across = E[1, 1] ** 2 + E[2, 2] ** 2 + 2 * E[1, 2] ** 2
        Q = 18.48 * E[0, 0] ** 2 + 3.58 * across + 2 * 1.627 * (E[0, 1] ** 2 + E[0, 2] ** 2)
        return 0.876 / 2 * (np.exp(Q) - 1)

    step, expected = 1e-6, np.empty((3, 3))
    for i, j in np.ndindex(3, 3):
        change = np.zeros((3, 3))
        change[i, j] = step
        expected[i, j] = (energy(F + change) - energy(F - change)) / (2 * step)
    assert np.allclose(stress(law, F), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("alpha", [-4.7, -2.0, 1.3, 2.0, 3.0, 9.5])
def test_ogden_follows_its_principal_stretches(alpha):
    stretches = np.array([1.3, 0.9, 1 / 1.17])
    # σ_i = 2µ/α (λ_i^α − mean) for an isochoric stretch.
    expected = 2 * 2.0 / alpha * (stretches**alpha - (stretches**alpha).mean())
    cauchy = stress(Ogden((2.0,), (alpha,)), np.diag(stretches)) @ np.diag(stretches)
    assert np.diag(cauchy) == pytest.approx(expected, rel=1e-8)


def test_ogden_with_exponent_two_is_neo_hookean():
    assert np.allclose(stress(Ogden((2.0,), (2.0,)), F), stress(NeoHookean(2.0), F), rtol=1e-12)


def test_fibres_do_not_push():
    stiff, none = HolzapfelGasserOgden(3.0, 500.0, 0.8), HolzapfelGasserOgden(3.0, 0.0, 0.8)
    squeezed = np.diag([0.8, 0.9, 1 / 0.72])
    assert np.array_equal(stress(stiff, squeezed), stress(none, squeezed))
    pulled = np.diag([1.2, 0.9, 1 / 1.08])
    assert stress(stiff, pulled)[0, 0] - stress(none, pulled)[0, 0] == pytest.approx(
        2 * 500.0 * 0.44 * np.exp(0.8 * 0.44**2) * 1.2
    )


def test_volumetric_energies_agree_to_second_order():
    for measure in ("linear", "logarithmic"):
        assert Compressibility(10.0, measure).energy(1.001) == pytest.approx(5e-6, rel=2e-3)
    # The mixed form is stationary at p = K g, where it equals U.
    law = Compressibility(10.0)
    assert law.mixed(1.2, 10.0 * 0.2) == pytest.approx(law.energy(1.2))
    assert law.mixed(1.2, 10.0 * 0.2 + 0.1) < law.energy(1.2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NeoHookean(-1.0), "NeoHookean: mu_kPa is -1; it must be a positive number"),
        (lambda: NeoHookean(float("nan")), "mu_kPa is nan"),
        (lambda: MooneyRivlin(0.0, 0.0), r"c1 \+ c2 is 0"),
        (lambda: MooneyRivlin(1.0, -0.1), "c2_kPa is -0.1"),
        (lambda: SaintVenantKirchhoff(-2.0, 1.0), "no positive bulk modulus"),
        (lambda: Ogden((1.0,), (0.0,)), "exponent α is 0"),
        (lambda: Ogden((1.0,), (1.0, 2.0)), "as many exponents"),
        (lambda: Guccione(1.0, 0.0, 1.0, 1.0), "bf is 0"),
        (lambda: HolzapfelGasserOgden(1.0, 1.0, 1.0, 0.4), "dispersion κ is 0.4"),
        (lambda: HolzapfelOgden(1, 1, -1, 1, 1, 1, 1, 1), "af_kPa is -1"),
        (lambda: Compressibility(0.0), "bulk modulus is 0"),
        (lambda: Compressibility(1.0, "cubic"), "measure 'cubic' is unknown"),
        (lambda: Membrane(1.0, 0.0), "thickness_mm is 0"),
        (lambda: PronySeries((0.6, 0.5), (1.0, 2.0)), "add up to 1.1"),
        (lambda: PronySeries((0.6,), (1.0, 2.0)), "as many weights as times"),
        (lambda: PronySeries((0.6,), (-1.0,)), "τ1 is -1"),
    ],
)
def test_parameters_out_of_range_are_refused_in_the_laws_words(make, message):
    with pytest.raises(SolverError, match=message):
        make()


def test_every_law_of_the_table_can_be_named():
    assert {type(law) for law in [*ISOTROPIC, *FIBROUS]} == set(LAWS.values())
