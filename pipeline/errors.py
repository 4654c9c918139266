"""The failure that all others are kinds of."""


class PipelineError(Exception):
    """A failure whose reason we know: one clear message, no traceback."""
