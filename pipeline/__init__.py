"""Adversarial PoseNet: the library behind the stages."""


class PipelineError(Exception):
    """A failure whose reason we know: one clear message, no traceback."""
