"""Digests tell states apart, and only states."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from solver.digest import NOT_STATE, digest_of


@dataclass(frozen=True, eq=False)
class Load:
    name: str
    free_mm: np.ndarray
    address: int = field(metadata=NOT_STATE)
    _seen: object = None


LOAD = Load("thread", np.arange(3.0), 7)


@pytest.mark.parametrize(
    "other",
    [replace(LOAD, name="staple"), replace(LOAD, free_mm=np.arange(3.0) + 1e-12), [LOAD], {"a": LOAD}],
)
def test_different_values_have_different_digests(other):
    assert digest_of(other) != digest_of(LOAD)


def test_caches_addresses_and_order_do_not_count():
    same = Load("thread", np.arange(3.0), 8, object())
    assert digest_of(same) == digest_of(LOAD)
    assert digest_of({"a": 1, "b": frozenset({"x", "y"})}) == digest_of({"b": frozenset({"y", "x"}), "a": 1})


def test_same_numbers_of_another_kind_are_another_value():
    values = [np.zeros(2), np.zeros((2, 1)), np.zeros(2, dtype=np.float32), (0.0, 0.0), ("0.0", "0.0"), None]
    assert len({digest_of(value) for value in values}) == len(values)
