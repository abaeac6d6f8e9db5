"""A process of the cluster that is no more, or says nothing: what is known of it, in one line."""

from shoestring.errors import ShoestringError


class WorkerLost(ShoestringError):
    """The line says who, where, in the middle of what, how it ended and what memory it last held. What was
    saved is whole."""
