"""What people see of a run: progress, metrics over time, figures."""

from seisjax.reporting.progress import Progress
from seisjax.reporting.writers import MetricsWriter

__all__ = ["MetricsWriter", "Progress"]
