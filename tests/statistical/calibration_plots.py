"""Figures of a calibration study, in the look of the package's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from bayesmf.evaluation import INTERVALS
from bayesmf.plots.style import accent, contrast, grid, ink, looks, style
from tests.statistical.uniformity import envelope, one_each, shares_below, uniform_p_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tests.statistical.calibration import Study

WHITE = {"figure.facecolor": "white", "savefig.facecolor": "white"}


def ecdf_figure(study: Study) -> Figure:
    """Draw the ECDF of every quantity's ranks, less that of uniform ones.

    One member of each data set, as in the test. The band holds the whole curve of 95% of exact
    samplers: a panel leaves it by chance one time in twenty, and is then drawn in another colour.
    """
    n, n_ranked = study.data_sets, study.n_ranked
    shares = np.concatenate([[0.0], shares_below(n_ranked), [1.0]])
    ends = [np.concatenate([[0], counts, [n]]) / n - shares for counts in envelope(n, n_ranked)]
    columns = min((5, 4), key=lambda k: -len(study.ranks) % k)
    rows = -(-len(study.ranks) // columns)
    with style(), mpl.rc_context(WHITE):
        figure, axes = plt.subplots(
            rows, columns, sharex=True, sharey=True, layout="constrained",
            figsize=(2.15 * columns, 1.75 * rows + 0.9),
        )  # fmt: skip
        for ax, (name, ranks) in zip(axes.flat, study.ranks.items(), strict=False):
            own = one_each(ranks)
            counts = np.cumsum(np.bincount(own, minlength=n_ranked + 1))
            steps = np.concatenate([[0], counts]) / n - shares
            inside = (ends[0] <= steps).all() and (steps <= ends[1]).all()
            ax.fill_between(shares, *ends, color=ink(), alpha=0.11, lw=0)
            ax.axhline(0, color=ink(), lw=0.8, alpha=0.5)
            ax.plot(shares, steps, color=accent() if inside else contrast(), lw=1.6)
            ax.set_title(name, fontsize=10.5, pad=5)
            p = f"p = {uniform_p_value(own, n_ranked):.2g}"
            ax.text(0.97, 0.05, p, transform=ax.transAxes, ha="right", fontsize=9, alpha=0.8)
            grid(ax, "both")
        reach = 1.45 * max(np.abs(end).max() for end in ends)
        axes.flat[0].set(xlim=(0, 1), ylim=(-reach, reach), xticks=[0, 0.5, 1])
        axes.flat[0].xaxis.set_major_formatter("{x:g}")
        for ax in axes.flat[len(study.ranks) :]:
            ax.set_visible(False)
        for ax in axes.flat[len(study.ranks) - columns : len(study.ranks)]:
            ax.tick_params(labelbottom=True)
        figure.suptitle(
            f"Ranks of the truth among {n_ranked} draws, {n:,} data sets: {study.name}",
            x=0.01, ha="left", fontsize=13, fontweight="bold",
        )  # fmt: skip
        figure.supxlabel("rank, as a share (band: 95% of exact samplers stay inside)", fontsize=11)
        figure.supylabel("ECDF − uniform", fontsize=11)
    return figure


def coverage_figure(study: Study) -> Figure:
    """Draw observed less nominal coverage of withheld ratings by kind of cell.

    Bars are 1.96 standard errors, between data sets.
    """
    with style(), mpl.rc_context(WHITE):
        figure, ax = plt.subplots(layout="constrained", figsize=(6.6, 4.2))
        ax.axhline(0, color=ink(), lw=1, alpha=0.55)
        places = np.arange(len(INTERVALS))
        for k, (kind, look) in enumerate(looks(study.inside).items()):
            shares = study.inside[kind]
            error = shares.std(axis=0, ddof=1) / np.sqrt(study.data_sets)
            ax.errorbar(
                places + 0.17 * (k - 1.5), 100 * (shares.mean(axis=0) - INTERVALS), 196 * error,
                color=look.color, fmt=look.marker, ms=6.5, elinewidth=1.6, label=LABELS[kind],
            )  # fmt: skip
        reach = 1.4 * max(2.0, *np.abs(ax.get_ylim()))
        ax.set(ylim=(-reach, reach), ylabel="observed − nominal (% points)")
        ax.set_xticks(places, [f"{level:.0%}" for level in INTERVALS])
        ax.set(xlim=(-0.5, len(INTERVALS) - 0.5), xlabel="nominal coverage of the interval")
        ax.set_title(f"Coverage of withheld ratings, {study.data_sets:,} data sets\n{study.name}")
        for y, va, words in ((0.97, "top", "too wide"), (0.03, "bottom", "too narrow")):
            ax.text(0.99, y, words, transform=ax.transAxes, ha="right", va=va, alpha=0.75)
        grid(ax)
        ax.legend(loc="upper left", ncols=2, columnspacing=1.2, handlelength=1.2)
    return figure


LABELS = {
    "known": "user and item known",
    "new user": "new user",
    "new item": "new item",
    "both new": "both new",
}
