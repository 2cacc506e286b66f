"""The figures of `course_utils.plots` that weigh a gain against its price, under the name that lessons import."""

from .plots.cost import plot_cost
from .plots.reliability import plot_reliability
from .plots.runs import plot_runs, runs_table

__all__ = ["plot_cost", "plot_reliability", "plot_runs", "runs_table"]
