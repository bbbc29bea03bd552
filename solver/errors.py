"""The exception family of `solver`: every message says what is wrong, where, and what to do."""


class SolverError(Exception):
    """A body that cannot be built, or a load that could not be solved; no state was changed."""
