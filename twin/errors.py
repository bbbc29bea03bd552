"""The exception family of `twin`: every message says what is wrong, where, and what to do."""


class TwinError(Exception):
    """A case or a rehearsal that cannot be read, written or carried out."""
