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
    plots.plot_ranks(choice)
    plots.plot_khat(loo)

Colours are those of Okabe & Ito (2008), told apart with any kind of colour vision; where they say
which model is meant, line styles and markers say it too.
"""

from __future__ import annotations

from bayesmf.plots.calibration import coverage_curve, plot_calibration
from bayesmf.plots.convergence import plot_loss, plot_noise_trace, plot_rhat, probe_rhat
from bayesmf.plots.counts import plot_coverage_by_count, plot_error_by_count, plot_uncertainty
from bayesmf.plots.predictions import plot_intervals
from bayesmf.plots.ranks import plot_khat, plot_ranks
from bayesmf.plots.style import style

__all__ = [
    "coverage_curve",
    "plot_calibration",
    "plot_coverage_by_count",
    "plot_error_by_count",
    "plot_intervals",
    "plot_khat",
    "plot_loss",
    "plot_noise_trace",
    "plot_ranks",
    "plot_rhat",
    "plot_uncertainty",
    "probe_rhat",
    "style",
]
