"""The one place that loads DOLFINx and says how its forms are compiled.

Everything in `solver` that needs DOLFINx, PETSc or MPI imports this module first: the packaged libraries
put MPI ahead of the compiled modules only when `dolfinx_solver` is imported before `dolfinx`. Forms are
translated to C by FFCx and compiled once per machine; the compiled kernels are kept in the user's cache, in
a folder keyed by the versions, the compiler flags and the processor, because kernels compiled for one
processor (`-march=native`) must not run on another that shares the home folder.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import platform
import shutil
from functools import cache
from pathlib import Path
from typing import Any

from solver.errors import SolverError

# Without -ffast-math: guards look for values that are not finite, which fast-math assumes away.
COMPILER_FLAGS = ("-O3", "-march=native", "-g0")
# Seconds one process waits for another to compile the same form; large anisotropic tangents take over ten.
COMPILE_TIMEOUT_S = 300


def _load() -> None:
    if shutil.which("cc") is None and shutil.which("gcc") is None and not os.environ.get("CC"):
        raise SolverError(
            "No C compiler was found and the solver compiles its forms with one; install it with "
            "'sudo apt-get install gcc libc6-dev' (or 'conda install -c conda-forge c-compiler')."
        )
    # PETSc's handlers would end the whole program where Python raises BrokenPipeError or is told to stop.
    os.environ["PETSC_OPTIONS"] = f"{os.environ.get('PETSC_OPTIONS', '')} -no_signal_handler".strip()
    # conda-forge ships dolfinx without the wheel's loader, and needs none.
    if importlib.util.find_spec("dolfinx_solver") is not None:
        importlib.import_module("dolfinx_solver")
    elif importlib.util.find_spec("dolfinx") is None:
        raise SolverError(
            "DOLFINx is not installed; install it with 'pip install dolfinx-solver-real' (Linux x86-64, "
            "Python 3.12 or newer) or 'conda install -c conda-forge fenics-dolfinx'."
        )


def _processor() -> str:
    """What tells one processor from another as far as compiled code is concerned."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    wanted = {line.split(":", 1)[0].strip(): line for line in text.splitlines() if ":" in line}
    return "".join(wanted.get(key, "") for key in ("model name", "flags", "Features"))


@cache
def cache_folder() -> Path:
    """Folder that keeps compiled forms of these versions for this processor."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = "|".join([dolfinx.__version__, *COMPILER_FLAGS, platform.machine(), _processor()])
    return base / "organtwin" / "forms" / hashlib.sha256(key.encode()).hexdigest()[:16]


@cache
def jit_options() -> dict[str, Any]:
    """Options every form is compiled with."""
    return {
        "cffi_extra_compile_args": list(COMPILER_FLAGS),
        "timeout": COMPILE_TIMEOUT_S,
        "cache_dir": str(cache_folder()),
    }


def compile_form(form: Any) -> Any:
    """Compile a UFL form, or a list of forms, with this project's options.

    Parameters
    ----------
    form : ufl.Form or sequence of ufl.Form

    Returns
    -------
    dolfinx.fem.Form or list of dolfinx.fem.Form

    Raises
    ------
    SolverError
        If the C compiler fails or the cache folder cannot be written.
    """
    try:
        return fem.form(form, jit_options=jit_options())
    except OSError as error:
        raise SolverError(
            f"Compiled forms cannot be kept in {cache_folder()} ({error.strerror}); free space there or set "
            "XDG_CACHE_HOME to a folder that can be written."
        ) from error
    except Exception as error:
        if type(error).__module__.split(".")[0] in ("distutils", "setuptools", "cffi"):
            raise SolverError(
                f"The C compiler could not compile a form ({error}); install one with "
                "'sudo apt-get install gcc libc6-dev'."
            ) from error
        raise


def compile_expression(expression: Any, points: Any) -> Any:
    """Compile a UFL expression, to be evaluated at `points` of the reference cell, with these options."""
    return fem.Expression(expression, points, jit_options=jit_options())


_load()

import basix  # noqa: E402
import basix.ufl  # noqa: E402
import dolfinx  # noqa: E402
import ufl  # noqa: E402
from dolfinx import fem, la, mesh  # noqa: E402
from dolfinx.fem import petsc as _petsc  # noqa: E402
from mpi4py import MPI  # noqa: E402
from petsc4py import PETSc  # noqa: E402

# Dispatched on their first argument, which type checkers do not follow.
assemble_matrix: Any = _petsc.assemble_matrix
create_matrix: Any = _petsc.create_matrix

__all__ = [
    "MPI",
    "PETSc",
    "assemble_matrix",
    "basix",
    "cache_folder",
    "compile_expression",
    "compile_form",
    "create_matrix",
    "dolfinx",
    "fem",
    "jit_options",
    "la",
    "mesh",
    "ufl",
]
