"""Figures for a page: drawn twice, for light and for dark, and written into the page itself."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayesmf import plots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes

    from bayesmf.diagnostics.aligned import Alignment
    from bayesmf.diagnostics.convergence import Diagnostics
    from bayesmf.diagnostics.criticism import PredictiveCheck
    from bayesmf.diagnostics.pit import PIT
    from bayesmf.evaluation import Comparison, Predictor
    from bayesmf.plots.style import Sampled

SIZE = (5.0, 3.6)
POINT_DPI = 150
"""Of the clouds of points, which stand as small bitmaps in the vector figures."""


def svg_uri(draw: Callable[[Axes], object], *, dark: bool) -> str:
    """Draw on a fresh figure and return it as a data URI."""
    # No pyplot: a page must neither touch the caller's figures nor leave any behind.
    with plots.style(dark=dark):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)  # labels look for their places on a page that is laid out
        draw(figure.subplots())
        buffer = io.BytesIO()
        # Without a date the same results give the same bytes.
        figure.savefig(buffer, format="svg", dpi=POINT_DPI, metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def figure_html(draw: Callable[[Axes], object], caption: str, alt: str) -> str:
    """Return a <figure> that follows the reader's colour scheme."""
    light, dark = (svg_uri(draw, dark=dark) for dark in (False, True))
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{html.escape(alt)}"></picture>'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
    )


def honesty_figures(
    comparison: Comparison, posterior: Sampled, models: Mapping[str, Predictor], pit: PIT
) -> str:
    """Calibration over all levels, the PIT, and coverage of 90% intervals by number of ratings."""
    return "".join(
        [
            figure_html(
                lambda ax: plots.plot_calibration(
                    comparison, models=models, difference=True, ax=ax
                ),
                "Measured less nominal coverage of every interval: above the line intervals hold "
                "more ratings than they promise, below it fewer (grey: what chance would do).",
                "Calibration of each model's intervals",
            ),
            figure_html(
                lambda ax: plots.plot_pit(pit, ax=ax),
                "Where test ratings fall in their predictive distributions: flat within the band "
                "if these are right, a U if they are too narrow, a hump if they are too wide.",
                "Histogram of the probability integral transform of test ratings",
            ),
            figure_html(
                lambda ax: plots.plot_coverage_by_count(comparison, posterior.ratings, ax=ax),
                "Coverage of the 90% intervals where an item has few training ratings (left) and "
                "many (right), with one standard error: one sd for all cells tends to be too small "
                "on the left and too large on the right.",
                "Coverage of 90% intervals by number of training ratings of the item",
            ),
        ]
    )


def prediction_figures(comparison: Comparison, posterior: Sampled, name: str) -> str:
    """Intervals of some cells; uncertainty and error by number of ratings."""
    shown = [
        figure_html(
            lambda ax: plots.plot_intervals(comparison, name, ax=ax),
            "Test ratings drawn at random, each with its predicted mean and 90% interval; "
            "about one in ten should fall outside.",
            f"90% intervals of {name} for some test ratings",
        ),
        figure_html(
            lambda ax: plots.plot_uncertainty(posterior, comparison, ax=ax),
            "How unsure the posterior is of the expected rating of each test cell; it should "
            "shrink as an item gets ratings.",
            "Posterior sd by number of training ratings of the item",
        ),
    ]
    shown += [
        figure_html(
            lambda ax, by=by: plots.plot_error_by_count(  # type: ignore[misc]
                comparison, posterior.ratings, by=by, ax=ax
            ),
            f"RMSE by number of training ratings of the {by} (markers) and the error that "
            "the intervals promise (lines): near each other, they can be trusted.",
            f"Measured and promised error by number of training ratings of the {by}",
        )
        for by in ("item", "user")
    ]
    return "".join(shown)


def criticism_figures(check: PredictiveCheck) -> str:
    """Observed ratings against ratings that the model makes up."""
    return "".join(
        [
            figure_html(
                lambda ax: plots.plot_ratings_check(check, ax=ax),
                "Observed ratings (bars) and ratings made up by the fitted model, with 90% "
                "intervals over its draws.",
                "Observed and replicated distribution of ratings",
            ),
            figure_html(
                lambda ax: plots.plot_rows_check(check, of="user_sd", ax=ax),
                "How much the ratings of one user scatter, over all users: apart from the band, "
                "users differ in another way than the model says.",
                "Observed and replicated distribution of users' sds",
            ),
        ]
    )


def factor_figures(posterior: Sampled, alignment: Alignment, titles: Mapping[Any, str]) -> str:
    """How many factors carry something, which items load on the first two, and shrinkage."""
    shown = [
        figure_html(
            lambda ax: plots.plot_scree(posterior, ax=ax),
            "Singular values of the interaction with 90% intervals.",
            "Singular values of the interaction",
        )
    ]
    if alignment.n_factors > 1:
        shown.append(
            figure_html(
                lambda ax: plots.plot_factor_map(alignment, titles=titles, ax=ax),
                "Items by their loadings on the first two factors; the named ones are the most "
                "extreme, with their uncertainty.",
                "Map of items on two factors",
            )
        )
    shown.append(
        figure_html(
            lambda ax: plots.plot_shrinkage(posterior, ax=ax),
            "How far users' tastes stand out, by their number of ratings: with few ratings the "
            "posterior says little and stays near the mean.",
            "Strength of users' tastes by number of training ratings",
        )
    )
    return "".join(shown)


def fitting_figures(
    posterior: Sampled, diagnostics: Diagnostics, models: Mapping[str, Predictor]
) -> str:
    """R-hat, the trace of the noise, and the loss of the first factor model by ALS."""
    shown = [
        figure_html(
            lambda ax: plots.plot_rhat(diagnostics, ax=ax),
            "R-hat of cells spread over popular and rare users and items, at 1 where all chains "
            "tell the same.",
            "Histogram of R-hat",
        ),
        figure_html(
            lambda ax: plots.plot_noise_trace(posterior, ax=ax),
            "The noise of a rating, draw by draw, one colour a chain: it is slow to settle, and "
            "should show neither drift nor gaps.",
            "Trace of the noise sd",
        ),
    ]
    named: dict[str, Any] = dict(models)
    # A bias-only loss falls in two steps: there is nothing to see.
    fitted = [one for one in named.values() if hasattr(one, "loss") and one.n_factors > 0]
    if fitted:
        shown.append(
            figure_html(
                lambda ax: plots.plot_loss(fitted[0], ax=ax),
                "The penalised squared error of alternating least squares never rises.",
                "Loss of alternating least squares by sweep",
            )
        )
    return "".join(shown)
