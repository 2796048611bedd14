"""Figures: each function takes results and an optional `ax`, and gives the Axes it drew on.

    from bayesmf import plots
    plots.plot_calibration(comparison)
    plots.plot_intervals(comparison, "BPMF")
    plots.plot_uncertainty(posterior, comparison)
    plots.plot_error_by_count(comparison, posterior.ratings)
    plots.plot_coverage_by_count(comparison, posterior.ratings)
    plots.plot_rhat(posterior.diagnose())
    plots.plot_noise_trace(posterior)
    plots.plot_loss(als)
    plots.plot_trace(posterior)
    plots.plot_rank(posterior)
    plots.plot_ess_growth(posterior)
    plots.plot_ratings_check(check)
    plots.plot_rows_check(check, of="user_sd")
    plots.plot_residuals(check)
    plots.plot_pit(pit)
    plots.plot_cell(posterior, user, item)
    plots.plot_recommendations(posterior, user)
    plots.plot_als_against_bpmf(comparison, posterior.ratings)
    plots.plot_factor_map(alignment, titles=titles)
    plots.plot_top_items(alignment, 0, titles=titles)
    plots.plot_scree(posterior)
    plots.plot_shrinkage(posterior)
    plots.plot_ranks(choice)
    plots.plot_khat(loo)
    plots.plot_fold_in(posterior, new_ratings, items)

Colours are those of Okabe & Ito (2008), told apart with any kind of colour vision; where they say
which model is meant, line styles and markers say it too.
"""

from __future__ import annotations

from bayesmf.plots.arrivals import plot_fold_in
from bayesmf.plots.calibration import coverage_curve, plot_calibration
from bayesmf.plots.cells import plot_als_against_bpmf, plot_cell, plot_recommendations
from bayesmf.plots.checks import plot_pit, plot_ratings_check, plot_residuals, plot_rows_check
from bayesmf.plots.convergence import plot_loss, plot_noise_trace, plot_rhat
from bayesmf.plots.counts import plot_coverage_by_count, plot_error_by_count, plot_uncertainty
from bayesmf.plots.factors import plot_factor_map, plot_top_items
from bayesmf.plots.predictions import plot_intervals
from bayesmf.plots.ranks import plot_khat, plot_ranks
from bayesmf.plots.shrinkage import plot_scree, plot_shrinkage
from bayesmf.plots.style import style
from bayesmf.plots.traces import plot_ess_growth, plot_rank, plot_trace

__all__ = [
    "coverage_curve",
    "plot_als_against_bpmf",
    "plot_calibration",
    "plot_cell",
    "plot_coverage_by_count",
    "plot_error_by_count",
    "plot_ess_growth",
    "plot_factor_map",
    "plot_fold_in",
    "plot_intervals",
    "plot_khat",
    "plot_loss",
    "plot_noise_trace",
    "plot_pit",
    "plot_rank",
    "plot_ranks",
    "plot_ratings_check",
    "plot_recommendations",
    "plot_residuals",
    "plot_rhat",
    "plot_rows_check",
    "plot_scree",
    "plot_shrinkage",
    "plot_top_items",
    "plot_trace",
    "plot_uncertainty",
    "style",
]
