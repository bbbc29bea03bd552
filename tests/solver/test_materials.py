import numpy as np
import pytest

from solver.errors import SolverError
from solver.materials import (
    LAWS,
    ActiveStress,
    Compressibility,
    ElasticConstants,
    FungDemiray,
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
from solver.verification.point import first_piola, incompressible_stress, response

ISOTROPIC = [
    NeoHookean(2.0),
    MooneyRivlin(0.7, 0.4),
    SaintVenantKirchhoff(3.0, 2.0),
    Ogden((0.842, 0.3), (-4.7, 1.3)),
    FungDemiray(2.0, 3.0),
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


def uniaxial(law, stretch, fibres=()):
    """P11 of incompressible tissue pulled along the first axis, free across."""
    return incompressible_stress(law, np.diag([stretch, stretch**-0.5, stretch**-0.5]), 2, fibres)[0][0, 0]


def equibiaxial(law, stretch):
    return incompressible_stress(law, np.diag([stretch, stretch, stretch**-2]), 2)[0][0, 0]


@pytest.mark.parametrize("stretch", [0.7, 1.4])
def test_isotropic_laws_follow_their_closed_forms(stretch):
    s, first = stretch, stretch**2 + 2 / stretch
    c1, c2 = 0.7, 0.4
    neo, mooney, fung = NeoHookean(2.0), MooneyRivlin(c1, c2), FungDemiray(2.0, 3.0)
    ogden = Ogden((0.842, 0.3), (-4.7, 1.3))
    assert uniaxial(neo, s) == pytest.approx(2.0 * (s - s**-2), rel=1e-12)
    assert equibiaxial(neo, s) == pytest.approx(2.0 * (s - s**-5), rel=1e-12)
    assert uniaxial(mooney, s) == pytest.approx(2 * (s - s**-2) * (c1 + c2 / s), rel=1e-12)
    assert equibiaxial(mooney, s) == pytest.approx(2 * (s - s**-5) * (c1 + c2 * s**2), rel=1e-12)
    assert uniaxial(fung, s) == pytest.approx(2.0 * np.exp(3.0 * (first - 3)) * (s - s**-2), rel=1e-12)
    terms = [2 * m / a * (s ** (a - 1) - s ** (-a / 2 - 1)) for m, a in ((0.842, -4.7), (0.3, 1.3))]
    assert uniaxial(ogden, s) == pytest.approx(sum(terms), rel=1e-8)


def test_saint_venant_kirchhoff_follows_its_closed_forms():
    law, s, shear = SaintVenantKirchhoff(3.0, 2.0), 1.3, 0.4
    assert stress(law, np.diag([s, 1, 1]))[0, 0] == pytest.approx(s * (3.0 + 2 * 2.0) * (s**2 - 1) / 2)
    sheared = np.eye(3)
    sheared[0, 1] = shear
    assert stress(law, sheared)[0, 1] == pytest.approx(2.0 * shear + (3.0 / 2 + 2.0) * shear**3)


def test_guccione_follows_its_closed_form_along_the_fibre():
    C, bf, bt, s = 0.876, 18.48, 3.58, 1.15
    along, across = (s**2 - 1) / 2, (1 / s - 1) / 2
    Q = bf * along**2 + 2 * bt * across**2
    expected = C / 2 * np.exp(Q) * (2 * bf * along * s - 2 * bt * across / s**2)
    assert uniaxial(FIBROUS[0], s, AXES[:1]) == pytest.approx(expected, rel=1e-12)


def test_holzapfel_gasser_ogden_follows_its_closed_form_with_dispersion():
    """Both families along the pull: E = κ (I1 − 3) + (1 − 3κ)(λ² − 1)."""
    c, k1, k2, kappa, s = 3.0, 2.3632, 0.8393, 0.1, 1.2
    strain = kappa * (s**2 + 2 / s - 3) + (1 - 3 * kappa) * (s**2 - 1)
    slope = kappa * (2 * s - 2 / s**2) + (1 - 3 * kappa) * 2 * s
    expected = c * (s - s**-2) + 2 * k1 * strain * np.exp(k2 * strain**2) * slope
    law = HolzapfelGasserOgden(c, k1, k2, kappa)
    assert uniaxial(law, s, (AXES[0], AXES[0])) == pytest.approx(expected, rel=1e-12)


def test_holzapfel_gasser_ogden_of_full_dispersion_is_isotropic():
    law = HolzapfelGasserOgden(3.0, 2.3632, 0.8393, 1 / 3)
    aligned, crossed = first_piola(law, F, AXES), first_piola(law, F, ([0, 0.6, 0.8], [0, 0, 1.0]))
    assert np.allclose(aligned, crossed, rtol=1e-12)


def test_myocardium_follows_the_published_shear_of_its_fibre_towards_the_sheet():
    """Holzapfel & Ogden 2009, mode (fs): σ_fs = a e^(bγ²) γ + 2 a_f γ³ e^(b_f γ⁴) + a_fs γ e^(b_fs γ²)."""
    law, shear = FIBROUS[2], 0.3
    sheared = np.eye(3)
    sheared[1, 0] = shear
    expected = (
        law.a_kPa * np.exp(law.b * shear**2) * shear
        + 2 * law.af_kPa * shear**3 * np.exp(law.bf * shear**4)
        + law.afs_kPa * shear * np.exp(law.bfs * shear**2)
    )
    cauchy = stress(law, sheared) @ sheared.T
    assert cauchy[0, 1] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("law", [*ISOTROPIC, *FIBROUS], ids=lambda law: type(law).__name__)
def test_stress_and_tangent_are_derivatives_of_the_energy(law):
    """Central differences of W give P, and those of P the tangent, at a stretch that pulls every fibre."""
    pulled, step = F @ np.diag([1.1, 1.15, 1.0]), 1e-6
    G, H = np.random.default_rng(1).normal(size=(2, 3, 3))

    def at(gradient):
        return response(law.energy, gradient, law.parameters, AXES[: law.fibres], (G, H))

    here, up, down = at(pulled), at(pulled + step * H), at(pulled - step * H)
    assert np.sum(here.stress * H) == pytest.approx((up.energy - down.energy) / (2 * step), rel=1e-6)
    assert here.second == pytest.approx(np.sum(G * (up.stress - down.stress)) / (2 * step), rel=1e-6)


@pytest.mark.parametrize("law", [*ISOTROPIC, *FIBROUS], ids=lambda law: type(law).__name__)
def test_small_strain_is_resisted_in_every_direction(law):
    """At rest W'' e : e is positive for every isochoric strain e, and 2µ e : e where the law has no directions."""
    for strain in np.random.default_rng(3).normal(size=(10, 3, 3)):
        e = (strain + strain.T) / 2
        e -= np.trace(e) / 3 * np.eye(3)
        twice = response(law.energy, np.eye(3), law.parameters, AXES[: law.fibres], (e, e)).second
        assert twice > 0
        if not law.fibres:
            assert twice == pytest.approx(2 * law.initial_shear_kPa * np.sum(e * e), rel=1e-8)


def test_active_stress_pulls_along_the_fibre_and_derives_from_its_energy():
    active = ActiveStress(60.0, transverse=0.2)
    pull = response(
        lambda gradient, values, fibres: active.energy(gradient, fibres[0], values["tension"]),
        F,
        {"tension": 60.0},
        AXES[:1],
    )
    f = np.array(AXES[0])
    expected = 60.0 * (0.8 * np.outer(F @ f, f) + 0.2 * F)
    assert np.allclose(pull.stress, expected, rtol=1e-12)
    # P Fᵀ = T (F f) ⊗ (F f): the Cauchy stress of a cable, times J.
    alone = ActiveStress(60.0)
    cable = response(lambda g, v, a: alone.energy(g, a[0], v["t"]), F, {"t": 60.0}, AXES[:1]).stress @ F.T
    assert np.allclose(cable, 60.0 * np.outer(F @ f, F @ f), rtol=1e-12)


def test_elastic_constants_are_those_of_the_textbook():
    constants = ElasticConstants(9.0, 0.49)
    assert constants.shear_kPa == pytest.approx(9.0 / 2.98)
    assert constants.bulk_kPa == pytest.approx(150.0)
    law, volume = constants.neo_hookean("logarithmic")
    assert (law.mu_kPa, volume) == (constants.shear_kPa, Compressibility(constants.bulk_kPa, "logarithmic"))
    solid = constants.saint_venant_kirchhoff()
    # Young's modulus is µ (3λ + 2µ)/(λ + µ).
    young = solid.mu_kPa * (3 * solid.lambda_kPa + 2 * solid.mu_kPa) / (solid.lambda_kPa + solid.mu_kPa)
    assert young == pytest.approx(9.0)


@pytest.mark.parametrize("measure", ["linear", "logarithmic", "Simo-Taylor", "Liu"])
def test_volumetric_energies_agree_to_second_order_and_with_their_mixed_form(measure):
    law = Compressibility(10.0, measure)
    assert law.energy(1.001) == pytest.approx(5e-6, rel=2e-3)
    for J in (0.6, 0.9, 1.0, 1.4):
        # U' by hand; the pressure of the logarithmic form is K ln J.
        pressure = {
            "linear": 10 * (J - 1),
            "logarithmic": 10 * np.log(J),
            "Simo-Taylor": 10 / 2 * (J - 1 / J),
            "Liu": 10 * np.log(J),
        }[measure]
        assert law.mixed(J, pressure) == pytest.approx(law.energy(J), abs=1e-12)
        assert law.mixed(J, pressure + 0.1) < law.energy(J)
        assert law.mixed(J, pressure - 0.1) < law.energy(J)


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
        (lambda: FungDemiray(1.0, -1.0), "FungDemiray: b is -1; it must be a positive number"),
        (lambda: ElasticConstants(1.0, 0.5), "Poisson's ratio is 0.5; it lies above -1 and below 0.5"),
        (lambda: ElasticConstants(-3.0, 0.3), "young_kPa is -3"),
        (lambda: ActiveStress(-1.0), "the tension is -1 kPa; muscle pulls"),
        (lambda: ActiveStress(1.0, transverse=1.5), "transverse share is 1.5"),
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
