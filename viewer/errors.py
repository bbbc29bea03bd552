"""The exception family of `viewer`: every message says what is wrong, where, and what to do."""


class ViewerError(Exception):
    """A picture, movie, report or window that cannot be made as things are."""
