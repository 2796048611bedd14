"""Figures: each function takes results and an optional `ax`, and gives the Axes it drew on.

    from bayesmf import plots
    plots.plot_calibration(comparison)
    plots.plot_intervals(comparison, "BPMF")
    plots.plot_uncertainty(posterior, comparison)
    plots.plot_error_by_count(comparison, posterior.ratings)
    plots.plot_coverage_by_count(comparison, posterior.ratings)
    plots.plot_rhat(posterior)
    plots.plot_noise_trace(posterior)
    plots.plot_loss(als)
    plots.plot_factor_map(alignment, titles=titles)
    plots.plot_top_items(alignment, 0, titles=titles)
    plots.plot_scree(posterior)
    plots.plot_shrinkage(posterior)

Colours are those of Okabe & Ito (2008), told apart with any kind of colour vision; where they say
which model is meant, line styles and markers say it too.
"""

from __future__ import annotations

from bayesmf.plots.calibration import coverage_curve, plot_calibration
from bayesmf.plots.convergence import plot_loss, plot_noise_trace, plot_rhat, probe_rhat
from bayesmf.plots.counts import plot_coverage_by_count, plot_error_by_count, plot_uncertainty
from bayesmf.plots.factors import plot_factor_map, plot_top_items
from bayesmf.plots.predictions import plot_intervals
from bayesmf.plots.shrinkage import plot_scree, plot_shrinkage
from bayesmf.plots.style import style

__all__ = [
    "coverage_curve",
    "plot_calibration",
    "plot_coverage_by_count",
    "plot_error_by_count",
    "plot_factor_map",
    "plot_intervals",
    "plot_loss",
    "plot_noise_trace",
    "plot_rhat",
    "plot_scree",
    "plot_shrinkage",
    "plot_top_items",
    "plot_uncertainty",
    "probe_rhat",
    "style",
]
