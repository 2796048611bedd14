"""How the fits went: agreement of the chains, and the loss of alternating least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bayesmf.diagnostics.limits import LIMITS
from bayesmf.indexing import evenly
from bayesmf.plots.style import accent, chain_colors, contrast, grid, ink, prepare, styled
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesmf.diagnostics.convergence import Diagnostics
    from bayesmf.plots.style import Sampled

MAX_POINTS = 400
RHAT_LIMIT = LIMITS["usual"].r_hat


class Descended(Protocol):
    """What `plot_loss` needs of a point estimate."""

    loss: np.ndarray
    steps: tuple[str, str, int]


@styled
def plot_rhat(diagnostics: Diagnostics, *, ax: Axes | None = None) -> Axes:
    """R-hat of the probe cells, as a histogram beside the limit of 1.01.

    Parameters
    ----------
    diagnostics : Diagnostics
        What `Posterior.diagnose` gave.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Raises
    ------
    ValueError
        If probe cells were not among what was diagnosed.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_rhat(post.diagnose()).get_xlabel()
    'R-hat'
    """
    groups = diagnostics.groups.index.tolist()
    if "probe" not in groups:
        must = "of a posterior whose probe cells were diagnosed"
        fail("diagnostics", "plot_rhat", must, Described(f"those of {', '.join(groups)}"))
    values = diagnostics.table.loc["probe"]["r_hat"].to_numpy()
    values = values[np.isfinite(values)]
    ax = prepare(ax)
    top = max(RHAT_LIMIT * 1.002, values.max(initial=1.0))
    low = min(0.9995, values.min(initial=1.0))
    ax.hist(values, bins=np.linspace(low, top, 31).tolist(), color=accent(), alpha=0.85)
    ax.axvline(RHAT_LIMIT, color=contrast(), ls="--", lw=1.5, label=f"limit {RHAT_LIMIT}")
    share = (values < RHAT_LIMIT).mean() if len(values) else float("nan")
    ax.set(
        xlabel="R-hat",
        ylabel="probe cells",
        title=f"R-hat: {share:.1%} of {len(values)} probe cells below {RHAT_LIMIT}",
    )
    ax.locator_params(axis="x", nbins=6)
    grid(ax)
    ax.legend()
    return ax


@styled
def plot_noise_trace(posterior: Sampled, *, ax: Axes | None = None) -> Axes:
    """Noise sd, 1/√α, draw by draw in every chain; chains should be one band.

    Parameters
    ----------
    posterior : Posterior
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        A line for each chain, of at most 400 evenly spaced draws.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, chains=2, random_seed=1,
    ...                         progressbar=False)
    >>> len(plots.plot_noise_trace(post).lines)
    2
    """
    ax = prepare(ax)
    alpha = posterior.data["posterior"]["alpha"]
    sd = 1 / np.sqrt(alpha.to_numpy())
    at = evenly(sd.shape[1], MAX_POINTS)
    names = alpha["chain"].to_numpy()
    for name, chain, color in zip(names, sd, chain_colors(len(sd)), strict=True):
        ax.plot(at + 1, chain[at], lw=0.8, alpha=0.8, color=color, label=f"chain {name}")
    ax.set(
        xlabel="draw",
        ylabel="noise sd (rating)",
        title=f"Noise sd {sd.mean():.3f}: should be one band",
    )
    ax.margins(x=0.01)
    ax.locator_params(nbins=6)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    grid(ax)
    return ax


@styled
def plot_loss(estimate: Descended, *, ax: Axes | None = None, **line: Any) -> Axes:
    """Loss of a point estimate after each step of its fit: a half-sweep of ALS, an epoch of SGD.

    Parameters
    ----------
    estimate : PointEstimate
    ax : matplotlib Axes, optional
    **line
        Given to `Axes.plot`.

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
    >>> plots.plot_loss(als).get_ylabel()
    'loss (rating²)'
    """
    ax = prepare(ax)
    loss = np.asarray(estimate.loss)
    # A start that is far off would press all the rest flat against the axis.
    ax.axhline(loss[-1], color=ink(), lw=1, alpha=0.4)
    look: dict[str, Any] = {"color": accent(), "marker": "o", "ms": 3.5} | line
    method, unit, often = estimate.steps
    ax.plot(np.arange(len(loss)) / often, loss, **look)
    ax.set(
        xlabel=unit,
        ylabel="loss (rating²)",
        title=f"{method} loss: {loss[-1]:,.0f} after {(len(loss) - 1) // often} {unit}s",
    )
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    grid(ax)
    return ax
