import numpy as np
import pytest

from solver.anderson import mixed_step


def test_a_linear_iteration_in_three_unknowns_ends_in_four_steps():
    matrix = np.array([[0.9, 0.2, 0.0], [-0.1, 0.7, 0.3], [0.0, 0.2, -0.8]])
    answer = np.linalg.solve(np.eye(3) - matrix, np.ones(3))
    points, corrections = [np.zeros(3)], []
    for _ in range(4):
        corrections.append(matrix @ points[-1] + 1.0 - points[-1])
        points.append(points[-1] + mixed_step(points, corrections))
    assert points[-1] == pytest.approx(answer, abs=1e-9)


def test_one_point_moves_by_its_own_correction():
    assert mixed_step([np.zeros(2)], [np.array([1.0, -2.0])]).tolist() == [1.0, -2.0]
