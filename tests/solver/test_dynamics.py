import numpy as np
import pytest

from solver.body import Body
from solver.breathing import Breathing
from solver.damping import Damping
from solver.dynamics import Dynamics
from solver.equilibrium import Equilibrium
from solver.errors import SolverError
from solver.ligaments import Ligament
from solver.materials import Compressibility, FungDemiray, NeoHookean, PronySeries, SaintVenantKirchhoff
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block

STILL = (0.0, 0.0, 0.0)
LENGTH, YOUNG, DENSITY = 40.0, 1000.0, 1e-6
# A clamped bar without lateral contraction swings along itself once in four of its lengths (wave speed √(E/ρ)).
PERIOD = 4 * LENGTH / np.sqrt(YOUNG / DENSITY)
SERIES = PronySeries((0.3, 0.3), (1.0, 10.0))


def bar(density=DENSITY):
    organ = kuhn_block((LENGTH, 2, 2), (10, 1, 1), {1: "bar"})
    tissue = Tissue("bar", SaintVenantKirchhoff(0.0, YOUNG / 2), None, density, "test")
    body = Body(organ, {"bar": tissue}, [], STILL)
    clamped = np.flatnonzero(organ.points[:, 0] == 0)
    stretched = np.zeros_like(organ.points)
    stretched[:, 0] = 0.01 * np.sin(np.pi * organ.points[:, 0] / (2 * LENGTH))
    return body, (clamped, np.zeros((len(clamped), 3))), stretched


def tip_of(body, frames):
    tip = int(np.argmax(body.organ.points[:, 0]))
    return np.array([f.displacement[tip, 0] for f in frames])


def block(mu=2.0, n=2, bulk=None, gravity_mm_s2=STILL, **options):
    organ = kuhn_block((40, 20, 20), (2 * n, n, n), {1: "block"})
    tissue = Tissue("block", NeoHookean(mu), Compressibility(bulk or 50 * mu), 1e-6, "test")
    return Body(organ, {"block": tissue}, [], gravity_mm_s2, **options)


def energy(frame):
    return frame.kinetic_energy_uJ + frame.strain_energy_uJ


def test_a_bar_swings_in_its_period_and_keeps_its_energy():
    body, held, stretched = bar()
    motion = Dynamics(body, "P2", rho_infinity=1.0)
    motion.start(stretched)
    begun = motion.element.strain_energy(motion.element.from_vertices(stretched))
    frames = list(motion.run(2 * PERIOD, PERIOD / 40, held))
    at, tip = np.array([f.time_s for f in frames]), tip_of(body, frames)
    zero = [
        at[i] - tip[i] * (at[i + 1] - at[i]) / (tip[i + 1] - tip[i])
        for i in np.flatnonzero(tip[:-1] * tip[1:] < 0)
    ]
    # The midpoint rule lengthens a period by (ω Δt)²/12.
    assert (zero[2] - zero[0]) / PERIOD - 1 == pytest.approx((2 * np.pi / 40) ** 2 / 12, abs=3e-4)
    assert np.array([energy(f) for f in frames]) == pytest.approx(begun, rel=1e-5)
    # At rest and stretched it pulls at the clamp, and swings through with the opposite sign.
    assert frames[19].reaction_mN[:, 0].sum() * frames[0].reaction_mN[:, 0].sum() < 0


@pytest.mark.parametrize("rho", [1.0, 0.5])
def test_time_steps_are_of_second_order(rho):
    body, held, stretched = bar()
    ends = []
    for count in (20, 40, 80):
        motion = Dynamics(body, "P1", rho_infinity=rho)
        motion.start(stretched)
        ends.append(tip_of(body, list(motion.run(0.7 * PERIOD, 0.7 * PERIOD / count, held)))[-1])
    assert np.log2((ends[1] - ends[0]) / (ends[2] - ends[1])) == pytest.approx(2.0, abs=0.1)


def test_mass_proportional_damping_decays_as_an_oscillator():
    body, held, stretched = bar()
    rate = 0.2 * 2 * np.pi / PERIOD
    motion = Dynamics(body, "P1", rho_infinity=1.0, damping=Damping(mass_per_s=rate))
    motion.start(stretched)
    frames = list(motion.run(PERIOD, PERIOD / 80, held))
    at, omega = np.array([f.time_s for f in frames]), 2 * np.pi / PERIOD
    damped = np.sqrt(omega**2 - rate**2 / 4)
    exact = np.exp(-rate * at / 2) * (np.cos(damped * at) + rate / (2 * damped) * np.sin(damped * at))
    assert np.abs(tip_of(body, frames) / 0.01 - exact).max() < 0.01


def test_viscosity_damps_shear_and_leaves_rigid_turning_alone():
    body = block()
    motion = Dynamics(body, "P2-P1", damping=Damping(viscosity_kPa_s=0.5))
    element = motion.element
    spin = np.cross([0, 0, 3.0], body.organ.points)
    turning, still = element.from_vertices(spin), np.zeros(element.unknowns)
    assert np.abs(motion._viscous.residual(still, turning)).max() < 1e-9
    shear = np.zeros_like(body.organ.points)
    shear[:, 0] = 2.0 * body.organ.points[:, 2]
    moving = element.from_vertices(shear)
    moving[np.setdiff1d(np.arange(element.unknowns), element.displacements)] = 0
    # The power of simple shear is η γ̇² a volume.
    assert motion._viscous.residual(still, moving) @ moving == pytest.approx(0.5 * 4 * 16000, rel=1e-9)
    rng = np.random.default_rng(3)
    x, direction = (0.2 * rng.normal(size=element.unknowns) for _ in range(2))
    slope, h = 7.0, 1e-6
    change = motion._viscous.residual(x + h * direction, moving + h * slope * direction)
    change -= motion._viscous.residual(x - h * direction, moving - h * slope * direction)
    assert motion._viscous.tangent(x, moving, slope) @ direction == pytest.approx(change / (2 * h), abs=1e-4)


def test_viscous_steps_converge_quadratically_in_any_rate():
    body = block(n=1)
    clamped, end = (np.flatnonzero(body.organ.points[:, 0] == x) for x in (0, 40))
    move = np.zeros((len(clamped) + len(end), 3))
    move[len(clamped) :] = [-3.0, 10.0, 0.0]
    motion = Dynamics(body, "P1", damping=Damping(viscosity_kPa_s=5.0), inertia=False)
    for dt_s in (1.0, 0.01):
        motion.start()
        frame = motion.step(dt_s, (np.r_[clamped, end], move))
        assert frame.steps == 1
        assert frame.iterations <= 8


def test_forces_met_on_the_way_do_not_pass_for_balance():
    """A law that stiffens exponentially meets huge forces in trial steps; what is returned must balance."""
    organ = kuhn_block((20, 20, 20), (2, 2, 2), {1: "block"})
    tissue = Tissue("block", FungDemiray(1.0, 12.0), Compressibility(1000.0), 1e-6, "test")
    body = Body(organ, {"block": tissue}, [], STILL)
    floor, roof = (np.flatnonzero(organ.points[:, 2] == z) for z in (0, 20))
    move = np.zeros((len(floor) + len(roof), 3))
    move[len(floor) :] = [12.0, 0.0, 3.0]
    motion = Dynamics(body, "P1", inertia=False)
    held = (np.r_[floor, roof], move)
    frame = motion.step(1.0, held)
    state = Equilibrium(body, "P1").solve(held)
    assert frame.displacement == pytest.approx(state.displacement, abs=1e-9)
    assert frame.reaction_mN.sum(axis=0) == pytest.approx(
        [0, 0, 0], abs=1e-6 * np.abs(frame.reaction_mN).max()
    )


@pytest.mark.parametrize("relaxed", [False, True])
@pytest.mark.parametrize("element", ["P1", "P2-P1", "P1-averaged"])
def test_a_sheared_body_relaxes_as_its_series(element, relaxed):
    body = block(n=1)
    everywhere = np.unique(body.organ.exterior)
    move = np.zeros((len(everywhere), 3))
    move[:, 0] = 0.3 * body.organ.points[everywhere, 2]
    top = body.organ.points[everywhere, 2] == 20
    motion = Dynamics(body, element, relaxation=SERIES, relaxed=relaxed, inertia=False)
    # µ γ on 800 mm², at once or after long, with µ the instantaneous or the relaxed modulus.
    elastic = 2.0 * 0.3 * 800 / (SERIES.relaxation(np.inf) if relaxed else 1.0)
    first = motion.step(1e-6, (everywhere, move))
    assert first.reaction_mN[top, 0].sum() == pytest.approx(elastic, rel=1e-4)
    for dt_s in (0.2, 0.8, 9.0):
        frame = motion.step(dt_s, (everywhere, move))
        assert frame.reaction_mN[top, 0].sum() == pytest.approx(
            elastic * SERIES.relaxation(frame.time_s), rel=1e-5
        )


def test_a_body_creeps_from_its_equilibrium_only_where_it_was_just_loaded():
    body, soft = (
        block(n=1, mu=mu, bulk=100.0, gravity_mm_s2=(0, 0, -9810.0))
        for mu in (2.0, 2.0 * SERIES.relaxation(np.inf))
    )
    floor = np.flatnonzero(body.organ.points[:, 0] == 0)
    held = (floor, np.zeros((len(floor), 3)))
    loaded = Equilibrium(body, "P2-P1").solve(held)
    in_the_end = Equilibrium(soft, "P2-P1").solve(held)
    for relaxed, state in ((True, loaded), (False, in_the_end)):
        motion = Dynamics(body, "P2-P1", relaxation=SERIES, relaxed=relaxed, inertia=False)
        motion.start(loaded)
        for _ in range(10):
            frame = motion.step(40.0, held)
        assert frame.displacement == pytest.approx(state.displacement, abs=0.01)
    assert np.abs(in_the_end.displacement - loaded.displacement).max() > 3.0


@pytest.mark.parametrize(("element", "n"), [("P1-averaged", 2), ("P2-P1", 1)])
def test_tissue_that_is_retracted_and_let_go_comes_to_rest(element, n):
    body = block(n=n)
    points = body.organ.points
    clamped = np.flatnonzero(points[:, 0] == 0)
    grip = np.flatnonzero((points[:, 0] == 40) & (points[:, 2] == 20))
    rest = (clamped, np.zeros((len(clamped), 3)))
    motion = Dynamics(body, element, damping=Damping(viscosity_kPa_s=0.05))

    def pull(time_s):
        move = np.zeros((len(clamped) + len(grip), 3))
        move[len(clamped) :, 2] = 6.0 * min(1.0, time_s / 0.05)
        return np.r_[clamped, grip], move

    pulled = list(motion.run(0.1, 0.01, pull))[-1]
    assert pulled.displacement[grip, 2] == pytest.approx(6.0)
    energies = [energy(pulled), *(energy(f) for f in motion.run(0.6, 0.02, rest))]
    # Held vertices do no work once it is let go; what is left goes into viscosity.
    assert (np.diff(energies) < 1e-6 * energies[0]).all()
    last = motion.step(0.02, rest)
    assert np.abs(last.displacement).max() < 0.02
    assert energy(last) < 1e-4 * energies[0]
    assert last.minimum_jacobian == pytest.approx(1.0, abs=1e-2)


def test_a_step_that_fails_is_halved_or_refused_and_the_state_stays():
    body = block(n=1)
    clamped, end = (np.flatnonzero(body.organ.points[:, 0] == x) for x in (0, 40))
    both = np.r_[clamped, end]
    move = np.zeros((len(both), 3))
    move[len(clamped) :, 0] = -45.0
    motion = Dynamics(body, "P1", inertia=False)
    motion.step(0.1, (both, 0.1 * move))
    with pytest.raises(
        SolverError, match=r"No movement beyond 0\.1\d* s: .* in block at x \d+, y .*; move more slowly"
    ):
        motion.step(0.1, (both, move))
    assert motion.time_s == pytest.approx(0.1)
    frame = motion.step(0.1, (both, 0.1 * move))
    assert frame.displacement[end, 0] == pytest.approx(-4.5)
    move[len(clamped) :, 0] = -27.0
    assert motion.step(0.1, (both, move)).steps > 1


def test_loads_move_with_time_and_are_let_go():
    organ = kuhn_block((20, 20, 20), (2, 2, 2), {1: "block"})
    top = organ.exterior[(organ.points[organ.exterior][:, :, 2] > 19.99).all(axis=1)]
    tissue = Tissue("block", NeoHookean(2.0), Compressibility(100.0), 1e-6, "test")
    body = Body(organ, {"block": tissue}, [], STILL, patches={"top": top})
    floor = np.flatnonzero(organ.points[:, 2] == 0)
    ligament = Ligament("cord", "top", (10, 10, 60), 100.0, slack_mm=38.0, sheet=True)
    breath = Breathing(4.0, 2.0)
    motion = Dynamics(body, "P1", [ligament], damping=Damping(viscosity_kPa_s=0.1))
    frames = list(motion.run(1.0, 0.1, lambda t: breath.prescribed(floor, t)))
    assert frames[-1].displacement[floor, 2] == pytest.approx(-4.0)
    assert frames[-1].displacement[:, 2].max() > -3.9
    ligament.release()
    after = list(motion.run(1.0, 0.1, lambda t: breath.prescribed(floor, 1.0)))[-1]
    assert np.abs(after.displacement - [0, 0, -4.0]).max() < 0.05


def test_malformed_movements_are_refused():
    body = block(n=1)
    with pytest.raises(SolverError, match=r"ρ∞ is 1\.2; it lies between 0 and 1"):
        Dynamics(body, "P1", rho_infinity=1.2)
    with pytest.raises(SolverError, match="viscosity is -1 kPa s"):
        Damping(viscosity_kPa_s=-1.0)
    with pytest.raises(SolverError, match="given for spleen, which the body does not have"):
        Dynamics(body, "P1", relaxation={"spleen": SERIES})
    with pytest.raises(SolverError, match="time step is 0 s"):
        Dynamics(body, "P1").step(0.0)
    with pytest.raises(SolverError, match="time step is 0 s"):
        next(Dynamics(body, "P1").run(1.0, 0.0))
    with pytest.raises(SolverError, match="duration is -1 s"):
        next(Dynamics(body, "P1").run(-1.0, 0.1))
    with pytest.raises(SolverError, match=r"to start from has shape \(3, 3\); give \(12, 3\) finite"):
        Dynamics(body, "P1").start(np.zeros((3, 3)))
    # Neither inertia nor damping by mass slows what nothing holds.
    with pytest.raises(SolverError, match="not held against translation along the x"):
        Dynamics(body, "P1", damping=Damping(viscosity_kPa_s=1.0), inertia=False).step(0.1)
    assert Dynamics(body, "P1", damping=Damping(mass_per_s=1.0), inertia=False).step(0.1).steps == 1
