import numpy as np
import pytest
from scipy import sparse

from solver.errors import SolverError
from solver.dissection import dissect
from solver.factor import Factor
from solver.verification.blocks import kuhn_block


def _mixed_matrix(block, seed, definite=True):
    """A random quasi-definite matrix, three unknowns and one of the other kind a vertex of a block."""
    rng = np.random.default_rng(seed)
    n = len(block.points)
    near = sparse.coo_array((np.ones(block.tets.size * 4), _pairs(block.tets)), shape=(n, n)).tocsr()
    graph = sparse.kron(near, np.ones((4, 4))).tocsr()
    graph.data[:] = rng.normal(size=graph.nnz)
    matrix = ((graph + graph.T) / 2).tocsr()
    negative = np.tile([False, False, False, True], n)
    weight = np.abs(matrix).sum(axis=1) * (1.1 if definite else 0.01)
    matrix = (matrix + sparse.diags_array(np.where(negative, -weight, weight))).tocsr()
    return matrix, np.repeat(np.arange(n), 4), negative


def _pairs(tets):
    return np.repeat(tets, 4, axis=1).ravel(), np.tile(tets, (1, 4)).ravel()


def _upper(matrix):
    upper = sparse.csr_array(sparse.triu(matrix))
    upper.sort_indices()
    return upper


def test_back_solve_of_a_quasi_definite_matrix_is_exact_to_single_precision():
    block = kuhn_block((40, 20, 20), (8, 4, 4))
    matrix, node, negative = _mixed_matrix(block, 0)
    upper = _upper(matrix)
    factor = Factor(upper, node, block.points, negative).refilled(upper.data)
    right = np.random.default_rng(1).normal(size=(3, matrix.shape[0]))
    found = factor.solve(right)
    exact = sparse.linalg.spsolve(matrix.tocsc(), right.T).T
    assert np.abs(found - exact).max() < 2e-6 * np.abs(exact).max()
    assert np.array_equal(factor.solve(right[1]), found[1])


def test_positive_definite_matrix_needs_no_second_kind():
    block = kuhn_block((10, 10, 10), (3, 3, 3))
    n = len(block.points)
    graph = sparse.coo_array((np.ones(block.tets.size * 4), _pairs(block.tets)), shape=(n, n)).tocsr()
    matrix = (sparse.diags_array(graph.sum(axis=1) + 1.0) - graph + sparse.eye_array(n)).tocsr()
    upper = _upper(matrix)
    factor = Factor(upper, np.arange(n), block.points).refilled(upper.data)
    right = np.ones(n)
    assert matrix @ factor.solve(right) == pytest.approx(right, abs=1e-5)


def test_wrong_inertia_is_refused():
    block = kuhn_block((10, 10, 10), (3, 3, 3))
    matrix, node, negative = _mixed_matrix(block, 2, definite=False)
    upper = _upper(matrix)
    with pytest.raises(SolverError, match="not definite"):
        Factor(upper, node, block.points, negative).refilled(upper.data)


def test_refilling_leaves_the_old_factor_alone():
    block = kuhn_block((10, 10, 10), (2, 2, 2))
    matrix, node, negative = _mixed_matrix(block, 3)
    upper = _upper(matrix)
    first = Factor(upper, node, block.points, negative).refilled(upper.data)
    right = np.ones(matrix.shape[0])
    before = first.solve(right)
    second = first.refilled(2 * upper.data)
    assert np.array_equal(first.solve(right), before)
    assert second.solve(right) == pytest.approx(before / 2, rel=1e-4, abs=1e-7)


def test_dissection_is_a_permutation_whose_separators_separate():
    block = kuhn_block((40, 40, 40), (10, 10, 10))
    n = len(block.points)
    graph = sparse.csr_array((np.ones(block.tets.size * 4), _pairs(block.tets)), shape=(n, n))
    tree = dissect(block.points, graph)
    assert np.array_equal(np.sort(tree.order), np.arange(n))
    top = np.diff(tree.starts)[-1]
    assert 60 <= top <= 130  # a plane of 11 × 11 vertices, or a little less
    left = np.flatnonzero(tree.parent == len(tree.parent) - 1)[0]
    first, second = tree.order[: tree.starts[left + 1]], tree.order[tree.starts[left + 1] : -top]
    assert graph[first][:, second].nnz == 0
    # Fill of nested dissection grows as n^(4/3); reverse Cuthill–McKee would need 11² entries a vertex.
    assert tree.entries < 0.6 * n * 121
