"""Digest: bytes that tell two values apart, the same in every process.

What states are made of are values: frozen dataclasses, arrays, numbers, words. They are taken in field by field. A
field whose name begins with an underscore is a cache, and one marked `NOT_STATE` says nothing of the state, such as the
address of a compiled kernel: both are left out. So are meshes, which a state takes in once by itself.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from anatomy.mesh import OrganMesh

#: Metadata of a dataclass's field that a digest leaves out.
NOT_STATE: Mapping[str, bool] = {"not_state": True}


def digest_of(value: Any) -> bytes:
    """SHA-256 of a value.

    Parameters
    ----------
    value : object
        A dataclass, array, mapping, sequence, set, number, word, None, or something with a `digest` of its own; of
        anything else only the type is taken in.
    """
    digest = hashlib.sha256()
    _take_in(value, digest)
    return digest.digest()


def _take_in(value: Any, digest: Any) -> None:
    digest.update(f"<{type(value).__name__}>".encode())
    if isinstance(value, OrganMesh | type):
        return
    if hasattr(value, "digest"):
        digest.update(value.digest())
    elif isinstance(value, np.ndarray):
        digest.update(f"{value.dtype.str}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        for each in fields(value):
            if not each.name.startswith("_") and "not_state" not in each.metadata:
                digest.update(each.name.encode())
                _take_in(getattr(value, each.name), digest)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(repr(key).encode())
            _take_in(value[key], digest)
    elif isinstance(value, list | tuple):
        for item in value:
            _take_in(item, digest)
    elif isinstance(value, frozenset | set):
        for item in sorted(digest_of(item) for item in value):
            digest.update(item)
    elif isinstance(value, str | bytes | int | float | np.generic) or value is None:
        digest.update(repr(value).encode())
