import numpy as np
import pytest
from scipy import sparse

from solver.attachments import Attachment
from solver.averaged import Averaged
from solver.backend import compile_form, fem
from solver.body import Body
from solver.materials import Compressibility, Ogden
from solver.tissues import Tissue
from solver.verification.blocks import kuhn_block


@pytest.fixture(scope="module")
def body():
    """Two tissues of different stiffness with a capsule, on an elastic wall."""
    organ = kuhn_block(
        (40, 20, 20),
        (6, 3, 3),
        {1: "liver", 2: "liver_tumour"},
        lambda c: np.where((c[:, 0] > 20) & (c[:, 1] > 10), 2, 1).astype(np.uint8),
    )
    wall = organ.exterior[(organ.points[organ.exterior][:, :, 0] < 1e-9).all(axis=1)]
    return Body(organ, attachments=[Attachment("wall", wall, 6.0, 3.0)])


@pytest.fixture(scope="module")
def state(body):
    rng = np.random.default_rng(1)
    return rng.normal(size=body.organ.points.shape) * 0.2, rng.normal(size=body.organ.points.shape)


def test_energy_is_that_of_the_body(body, state):
    u, _ = state
    displacement = fem.Function(body.space)
    displacement.x.array[:] = body.from_organ(u).ravel()
    form = compile_form(body.energy(displacement, volumetric="averaged"))
    expected = fem.assemble_scalar(form) + body.averaging.energy(body.jacobians(body.from_organ(u)))
    assert Averaged(body).evaluate(u, 0.1)[0] == pytest.approx(expected, rel=1e-12)


def test_forces_are_the_gradient_of_the_energy(body, state):
    u, d = state
    averaged, h = Averaged(body), 1e-5
    gradient = averaged.evaluate(u, 0.1)[1]
    slope = (averaged.evaluate(u + h * d, 0.1)[0] - averaged.evaluate(u - h * d, 0.1)[0]) / (2 * h)
    assert np.vdot(gradient, d) == pytest.approx(slope, rel=1e-8)


def test_tangent_with_pressures_eliminated_is_the_derivative_of_the_forces(body, state):
    u, d = state
    averaged, h = Averaged(body), 1e-5
    n = u.size
    upper = sparse.csr_array(
        (averaged.tangent(u), averaged.pattern.indices, averaged.pattern.indptr), shape=averaged.pattern.shape
    )
    full = sparse.csr_array(upper + upper.T - sparse.diags_array(upper.diagonal()))
    coupling, compliance = full[n:, :n], -full[n:, n:].diagonal()
    answer = full[:n, :n] @ d.ravel() + coupling.T @ ((coupling @ d.ravel()) / compliance)
    change = (averaged.evaluate(u + h * d, 0.1)[1] - averaged.evaluate(u - h * d, 0.1)[1]) / (2 * h)
    assert np.abs(answer - change.ravel()).max() < 1e-8 * np.abs(answer).max()


def test_a_squeezed_cell_has_infinite_energy(body):
    u = np.zeros_like(body.organ.points)
    corner = int(np.argmax(body.organ.points.sum(axis=1)))
    u[corner] = -30.0
    energy, _, smallest = Averaged(body).evaluate(u, 0.1)
    assert smallest < 0.1
    assert energy == np.inf


def test_values_that_are_not_finite_do_not_pass(body):
    u = np.zeros_like(body.organ.points)
    u[3, 1] = np.nan
    assert Averaged(body).evaluate(u, 0.1)[0] == np.inf


def test_a_divided_attachment_holds_nothing(body):
    organ = body.organ
    wall = body.attachments[0].facets
    held = Body(organ, attachments=[Attachment("wall", wall, 6.0, 3.0), Attachment("again", wall, 1.0, 1.0)])
    averaged = Averaged(held)
    u = np.full(organ.points.shape, 0.1)
    before = averaged.evaluate(u, 0.1)[0]
    held.release("again")
    averaged.refresh_supports()
    area = 20.0 * 20.0
    assert before - averaged.evaluate(u, 0.1)[0] == pytest.approx(0.5 * 1.0 * 3 * 0.1**2 * area, rel=1e-9)


def test_ogden_tissues_of_different_exponents_are_live_together():
    """Brain beside a tissue with other exponents: energy and forces as the forms of the reference tier have them."""
    organ = kuhn_block(
        (20, 10, 10), (4, 2, 2), {1: "brain", 2: "tumour"}, lambda c: (1 + (c[:, 0] > 10)).astype(np.uint8)
    )
    law = Ogden((1.5, 0.4), (2.0, -3.1))
    tumour = Tissue("tumour", law, Compressibility(95.0), 1e-6, "a test")
    body = Body(organ, {"tumour": tumour}, attachments=[])
    rng = np.random.default_rng(2)
    u, d, h = rng.normal(size=organ.points.shape) * 0.2, rng.normal(size=organ.points.shape), 1e-5
    displacement = fem.Function(body.space)
    displacement.x.array[:] = body.from_organ(u).ravel()
    form = compile_form(body.energy(displacement, volumetric="averaged"))
    expected = fem.assemble_scalar(form) + body.averaging.energy(body.jacobians(body.from_organ(u)))
    averaged = Averaged(body)
    energy, gradient = averaged.evaluate(u, 0.1)[:2]
    assert energy == pytest.approx(expected, rel=1e-12)
    slope = (averaged.evaluate(u + h * d, 0.1)[0] - averaged.evaluate(u - h * d, 0.1)[0]) / (2 * h)
    assert np.vdot(gradient, d) == pytest.approx(slope, rel=1e-7)
