"""The exception family of `anatomy`: every message says what is wrong, where, and what to do."""


class AnatomyError(Exception):
    """A scan, label map or mesh that cannot be used as it is."""
