"""Many trials on many machines: each an experiment of DVC's in a clone of its machine's own.

Ray starts trials, and starts again those whose machine died; Git, DVC's remote and MLflow keep what
they made. Nothing that is wanted later lies in Ray.
"""

from pipeline.errors import PipelineError


class SweepError(PipelineError):
    """A sweep cannot begin, or cannot go on."""
