"""Draws of what is identified, by ArviZ: traces, ranks of chains, and how the ESS grows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from bayesmf.diagnostics.identified import check_identified, interaction_sd
from bayesmf.diagnostics.limits import LIMITS
from bayesmf.diagnostics.measures import FEWEST_DRAWS, ess
from bayesmf.indexing import evenly
from bayesmf.plots.style import chain_colors, ink, looks, prepare, styled
from bayesmf.plots.style import grid as faint_grid
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from bayesmf.plots.style import Sampled

NAMES = ("alpha", "total_log_likelihood", "intercept", "singular_value")
ENOUGH = int(LIMITS["usual"].ess)
"""Bulk ESS at which R-hat and errors can be trusted."""
MOST_PROBES = 100
MOST_ENTRIES = 4
POINTS = 10
ARVIZ_COLORS = 3
"""Colours that ArviZ asks for at least, though there be fewer chains."""


@styled
def plot_trace(posterior: Sampled, names: str | Sequence[str] | None = None) -> Figure:
    """Density and draws of identified quantities, chain by chain, by ArviZ.

    Parameters
    ----------
    posterior : Posterior
    names : str or sequence of str, optional
        Variables of `post.data["posterior"]`; by default the noise precision, the log likelihood,
        the intercept and the first singular value. Of other vectors the first four entries.

    Returns
    -------
    matplotlib Figure
        A row for each quantity: density on the left, draws on the right.

    Raises
    ------
    ValueError
        For raw factors and the like, which are not identified, and for unknown names.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> len(plots.plot_trace(post, ["alpha", "intercept"]).axes)
    4
    """
    import arviz  # noqa: PLC0415 - takes seconds to import, and only a few figures need it

    shown = _selected(posterior, names, "plot_trace")
    n_chains, n_rows = shown.sizes["chain"], len(shown.data_vars)
    words: dict[str, Any] = {"color": ink(), "size": 10}
    found = arviz.plot_trace_dist(
        xr.DataTree.from_dict({"posterior": shown}), compact=False, combined=False,
        backend="matplotlib", kind="kde", color=chain_colors(max(ARVIZ_COLORS, n_chains)),
        visuals={
            "label": words, "xlabel_trace": words, "trace": {"width": 0.6},
            "ticklabels": {"size": 9},
        },
        figure_kwargs={"figsize": (8.2, 1.9 * n_rows + 0.5)},
    )  # fmt: skip
    figure = _finished(found)
    for ax in figure.axes:
        ax.locator_params(axis="x", nbins=5)  # a log likelihood has long numbers
    return figure


@styled
def plot_rank(posterior: Sampled, names: str | Sequence[str] | None = None) -> Figure:
    """Ranks of each chain's draws among all: the difference of their ECDF from uniform, by ArviZ.

    Chains that explore the same distribution stay near zero; what does not is marked.

    Parameters
    ----------
    posterior : Posterior
        Of two chains or more.
    names : str or sequence of str, optional
        As in `plot_trace`.

    Returns
    -------
    matplotlib Figure

    Raises
    ------
    ValueError
        For one chain, for raw factors and the like, and for unknown names.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, chains=2, random_seed=1,
    ...                         progressbar=False)
    >>> len(plots.plot_rank(post).axes)
    4
    """
    import arviz  # noqa: PLC0415 - takes seconds to import, and only a few figures need it

    function = "plot_rank"
    shown = _selected(posterior, names, function)
    n_chains, n_panels = shown.sizes["chain"], len(shown.data_vars)
    if n_chains < 2:
        must = "a posterior of at least two chains"
        fail("posterior", function, must, Described("one chain"))
    words: dict[str, Any] = {"color": ink(), "size": 10}
    columns = min(n_panels, 2)
    found = arviz.plot_rank(
        xr.DataTree.from_dict({"posterior": shown}), envelope_prob=0.95, method="mtc_c",
        backend="matplotlib", color=chain_colors(max(ARVIZ_COLORS, n_chains)), col_wrap=columns,
        visuals={"title": words, "xlabel": words | {"text": "rank, as a share"}},
        figure_kwargs={"figsize": (4.1 * columns, 2.4 * -(-n_panels // columns))},
    )  # fmt: skip
    figure = _finished(found)
    for ax in figure.axes:
        # ArviZ draws p-values, over the lines, and the points that it marks in black, which a dark
        # page hides.
        top = 1.35 * ax.get_ylim()[1]
        ax.set_ylim(-top, top)
        for text in ax.texts:
            text.set(color=ink(), y=0.97 * top, va="top", text=text.get_text().split("(")[0])
        for marks in ax.collections:
            marks.set_color(ink())
    return figure


@styled
def plot_ess_growth(
    posterior: Sampled, names: str | Sequence[str] | None = None, *, ax: Axes | None = None
) -> Axes:
    """Bulk ESS, by ArviZ, against the number of draws used, with the line of 400.

    It should grow in proportion to the draws; where it stops growing, chains do not mix.

    Parameters
    ----------
    posterior : Posterior
        Of four draws a chain or more.
    names : str or sequence of str, optional
        As in `plot_trace`; of probe cells the median and the worst of up to 100 are shown. By
        default those of `plot_trace` and the probe cells.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        A line for each quantity.

    Raises
    ------
    ValueError
        For too few draws, for raw factors and the like, and for unknown names.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> plots.plot_ess_growth(post, "alpha").get_ylabel()
    'bulk ESS'
    """
    function = "plot_ess_growth"
    shown = _selected(posterior, names, function, (*NAMES, "probe"), probes=MOST_PROBES)
    n_draws, n_chains = shown.sizes["draw"], shown.sizes["chain"]
    if n_draws < FEWEST_DRAWS:
        must = f"a posterior of at least {FEWEST_DRAWS} draws a chain"
        fail("posterior", function, must, Described(f"{n_draws}"))
    first = max(FEWEST_DRAWS, n_draws // POINTS)
    used = first + evenly(n_draws - first + 1, POINTS)
    curves: dict[str, list[float]] = {}
    for name, drawn in shown.data_vars.items():
        values = [ess(drawn.to_numpy()[:, :count]) for count in used]
        if name == "probe":
            curves["probe cells, median"] = [float(np.median(value)) for value in values]
            curves["probe cells, worst"] = [float(value.min()) for value in values]
        else:
            curves[str(name)] = [float(value) for value in values]
    ax = prepare(ax)
    for name, look in looks(curves).items():
        ax.plot(
            used * n_chains, curves[name], color=look.color, ls=look.dashes, marker=look.marker,
            ms=4.5, label=name,
        )  # fmt: skip
    ax.axhline(ENOUGH, color=ink(), lw=1, ls="--", alpha=0.6, label=f"{ENOUGH}, enough")
    ax.set(
        xlabel=f"draws of {n_chains} chain{'s' * (n_chains > 1)}",
        ylabel="bulk ESS",
        title="Effective sample size, as draws are added",
    )
    ax.set_ylim(0, 1.35 * ax.get_ylim()[1])  # room for the legend
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    faint_grid(ax)
    ax.legend(fontsize=9, ncols=2, loc="upper left")
    return ax


def _selected(
    posterior: Sampled,
    names: str | Sequence[str] | None,
    function: str,
    default: tuple[str, ...] = NAMES,
    probes: int | None = None,
) -> xr.Dataset:
    """Scalars, and first entries of vectors as scalars of their own; `probes` cells as a vector."""
    group = posterior.data["posterior"].dataset
    listed = check_identified(default if names is None else names, function, "names")
    first = 1 if names is None else MOST_ENTRIES
    columns: dict[str, xr.DataArray] = {}
    for name in listed:
        if name == "interaction_sd":
            columns[name] = group["alpha"].copy(data=interaction_sd(posterior))
            continue
        values = group[name]
        if values.ndim == 2:
            columns[name] = values
            continue
        dim = str(values.dims[-1])
        labels = values[dim].to_numpy()
        if name == "probe" and probes is not None:
            columns[name] = values.isel({dim: evenly(len(labels), probes)})
            continue
        for entry in range(min(first, len(labels))):
            columns[f"{name}[{labels[entry]}]"] = values.isel({dim: entry}, drop=True)
    if not columns:
        fail("names", function, "variables with at least one entry", names)
    return xr.Dataset(columns)


def _finished(collection: Any) -> Figure:
    figure: Figure = collection.viz["figure"].item()
    figure.set_layout_engine("constrained")
    for ax in figure.axes:
        faint_grid(ax)
    return figure
