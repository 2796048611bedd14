"""How the fits went: agreement of the chains, and the loss of alternating least squares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from bayesmf.plots.style import accent, contrast, grid, ink, palette, prepare, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from bayesmf.plots.style import Sampled

MAX_POINTS = 400
RHAT_LIMIT = 1.01
"""Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021), Bayesian Analysis 16(2), section 4."""


class Descended(Protocol):
    """What `plot_loss` needs of a point estimate."""

    loss: np.ndarray
    loss_steps: ClassVar[tuple[str, str, int]]


def probe_rhat(posterior: Sampled) -> np.ndarray:
    """R-hat of each probe cell (n_probes,): rank-normalised and split, by ArviZ.

    Parameters
    ----------
    posterior : Posterior

    Returns
    -------
    ndarray
        NaN where the chains are too few or too short to say, and of ADVI, whose draws are
        independent: they agree with each other, whatever they are drawn from.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.probe_rhat(post).shape
    (500,)
    """
    import arviz  # noqa: PLC0415 - takes seconds to import, and only this figure needs it

    draws = posterior.data["posterior"]["probe"]
    too_few = min(draws.sizes["chain"], draws.sizes["draw"] / 4) < 1
    if too_few or "pareto_k" in posterior.data.attrs:
        return np.full(draws.sizes["cell"], np.nan)
    found: np.ndarray = arviz.rhat(draws.to_dataset())["probe"].to_numpy()
    return found


@styled
def plot_rhat(
    posterior: Sampled, *, rhat: np.ndarray | None = None, ax: Axes | None = None
) -> Axes:
    """R-hat of the probe cells, as a histogram beside the limit of 1.01.

    Parameters
    ----------
    posterior : Posterior
    rhat : ndarray, optional
        What `probe_rhat` gave, to save the time.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_rhat(post).get_xlabel()
    'R-hat'
    """
    values = probe_rhat(posterior) if rhat is None else rhat
    values = values[np.isfinite(values)]
    ax = prepare(ax)
    top = max(RHAT_LIMIT * 1.002, values.max(initial=1.0))
    low = min(0.9995, values.min(initial=1.0))
    ax.hist(values, bins=np.linspace(low, top, 31).tolist(), color=accent(), alpha=0.85)
    ax.axvline(RHAT_LIMIT, color=contrast(), ls="--", lw=1.5, label="limit 1.01")
    share = (values < RHAT_LIMIT).mean() if len(values) else float("nan")
    ax.set(
        xlabel="R-hat",
        ylabel="probe cells",
        title=f"R-hat: {share:.1%} of {len(values)} probe cells below 1.01",
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
    at = np.linspace(0, sd.shape[1] - 1, min(sd.shape[1], MAX_POINTS)).round().astype(int)
    colors = palette()
    order = [2, 0, 1, 4, 3, 5]
    for k, chain in enumerate(sd):
        color = colors[order[k % len(order)]]
        name = f"chain {alpha['chain'].to_numpy()[k]}"
        ax.plot(at + 1, chain[at], lw=0.8, alpha=0.8, color=color, label=name)
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
    """Penalised squared error of alternating least squares after each half-sweep.

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
    method, unit, often = estimate.loss_steps
    ax.plot(np.arange(len(loss)) / often, loss, **look)
    ax.set(
        xlabel=unit,
        ylabel="loss (rating²)",
        title=f"{method} loss: {loss[-1]:,.0f} after {(len(loss) - 1) // often} {unit}s",
    )
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    grid(ax)
    return ax
