"""Running a finished model well: batches without padding, the fastest form of each part on this machine, what it costs."""

from .batches import answers, batches
from .estimate import Estimate, estimate, measured
from .optimize import Edit, Optimized, optimize
from .running import Running

__all__ = ["Edit", "Estimate", "Optimized", "Running", "answers", "batches", "estimate", "measured", "optimize"]
