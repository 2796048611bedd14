"""One page about a comparison: data, table, figures, recommendations, and how to read them."""

from __future__ import annotations

import html
import os
import secrets
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bayesmf.evaluation import TRUSTED_K
from bayesmf.plots import probe_rhat
from bayesmf.plots.convergence import RHAT_LIMIT
from bayesmf.plots.style import Sampled
from bayesmf.report.figures import fitting_figures, honesty_figures, prediction_figures
from bayesmf.report.tables import (
    comparison_html,
    facts_html,
    meanings_html,
    rated_highest,
    recommendations_html,
    title_of,
)
from bayesmf.validation import Described, check_integer, fail

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import pandas as pd

    from bayesmf.evaluation import Comparison, Predictor
    from bayesmf.ratings import Ratings


class Recommending(Sampled, Protocol):
    """What a page needs of a posterior."""

    def recommend(
        self, users: object = ..., n: int = ..., *, prob: float = ..., kind: str = ...
    ) -> pd.DataFrame:
        """Best items for some users."""


def write_comparison_page(
    path: str | os.PathLike[str],
    comparison: Comparison,
    posterior: Recommending,
    *,
    models: Mapping[str, Predictor] | None = None,
    name: str = "ratings",
    about: str = "",
    titles: Mapping[object, object] | pd.Series | None = None,
    user: object = None,
    n: int = 10,
) -> Path:
    """Write one self-contained HTML page about a comparison.

    The page needs neither network nor other files, follows the reader's light or dark scheme, and
    appears under its name only when it is complete.

    Parameters
    ----------
    path : str or path-like
        Where to write; a file that is there is replaced.
    comparison : Comparison
        What `compare` gave.
    posterior : Posterior
        The compared model whose uncertainty, convergence and recommendations are shown.
    models : mapping of str to results, optional
        The models that were compared; with them calibration is drawn at every level and the loss
        of alternating least squares is shown.
    name : str, default "ratings"
        What the data are called, in the title.
    about : str, optional
        A sentence or two about the data.
    titles : mapping or Series, optional
        Titles by item id; an item without one is shown by its id.
    user : id, optional
        Whom to recommend to; by default the user with the median number of training ratings.
    n : int, default 10
        Number of recommendations.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    TypeError
        If `posterior` is not a posterior.

    Examples
    --------
    >>> import tempfile, pathlib, bayesmf
    >>> from bayesmf.report import write_comparison_page
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
    >>> post = bayesmf.fit_bpmf(train, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> comparison = bayesmf.compare({"BPMF": post}, test)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     page = write_comparison_page(pathlib.Path(folder, "page.html"), comparison, post)
    ...     page.name
    'page.html'
    """
    function = "write_comparison_page"
    target = Path(path)
    if not target.parent.is_dir():
        must = "a file in a folder that exists"
        fail("path", function, must, str(path), FileNotFoundError)
    if not hasattr(posterior, "recommend") or not hasattr(posterior, "data"):
        must = "a Posterior, such as fit_bpmf gives"
        fail("posterior", function, must, Described(type(posterior).__name__), TypeError)
    n = check_integer(n, "n", function, minimum=1)
    ratings = posterior.ratings
    called: Mapping[object, object] = {} if titles is None else dict(titles.items())
    shown = _name_of(posterior, comparison, models)
    user = median_user(ratings) if user is None else user
    best = posterior.recommend(user, n, kind="latent")
    rhat = probe_rhat(posterior)
    noise = float((1 / np.sqrt(posterior.data["posterior"]["alpha"].to_numpy())).mean())
    lines = (f'<p class="protocol">{_text(line)}</p>' for line in comparison.protocol.split("\n"))
    page = Template(files("bayesmf.report").joinpath("page.html").read_text("utf-8")).substitute(
        title=_text(f"Bayesian matrix factorization of {name}"),
        lead=_text(lead(comparison, shown)),
        about=f"<p>{_text(about)}</p>" if about else "",
        facts=facts_html(ratings, len(comparison.cells)),
        comparison=comparison_html(comparison),
        protocol="".join(lines),
        honesty=honesty_figures(comparison, posterior, models),
        predictions=prediction_figures(comparison, posterior, shown),
        user=_text(user),
        taste=_taste(ratings, user, called),
        recommendations=recommendations_html(best, ratings, called),
        noise=f"{noise:.2f}",
        convergence=_text(convergence_line(rhat, posterior.data.attrs)),
        fitting=fitting_figures(posterior, rhat, models),
        meanings=meanings_html(comparison.table.columns),
        version=_text(version("bayesmf")),
    )
    _write(target, page)
    return target


def median_user(ratings: Ratings) -> object:
    """Return the user whose number of ratings is the median: neither a fan nor a passer-by."""
    counts = np.diff(ratings.by_user.indptr)
    return ratings.user_ids[int(np.argsort(counts, kind="stable")[len(counts) // 2])]


def convergence_line(rhat: np.ndarray, attributes: Mapping[Hashable, Any]) -> str:
    """Say how many probe cells have converged by R-hat, and how far the worst is.

    Of ADVI, whether it has settled, and whether what it has fitted is the posterior.
    """
    if "pareto_k" in attributes:
        settled = "has settled" if attributes["converged"] else "has not settled"
        k = attributes["pareto_k"]
        found = "weights could mend it" if k < TRUSTED_K else "it is not the posterior"
        return f"ADVI {settled}. Pareto k is {k:.2f}, trusted below {TRUSTED_K}: {found}."
    known = rhat[np.isfinite(rhat)]
    if not len(known):
        return "R-hat needs at least four draws of each chain: there are too few to judge."
    share = (known < RHAT_LIMIT).mean()
    return (
        f"{share:.1%} of {len(known)} probe cells have R-hat < {RHAT_LIMIT}; "
        f"the largest is {known.max():.3f}."
    )


def lead(comparison: Comparison, name: str) -> str:
    """The finding in one sentence: who predicts best, and whether intervals hold."""
    error = comparison.table["RMSE"].sort_values()
    names = [str(model) for model in error.index]
    covered = float(comparison.table["coverage_90"][name])
    on = f"On {len(comparison.cells):,} held-out ratings"
    held = f"90% intervals of {name} hold {covered:.1%} of them"
    if len(names) == 1:
        return f"{on} {name} has RMSE {error.iloc[0]:.3f}; {held}."
    return (
        f"{on} {names[0]} has the smallest RMSE, {error.iloc[0]:.3f} (next: {names[1]}, "
        f"{error.iloc[1]:.3f}); {held}."
    )


def _name_of(
    posterior: object, comparison: Comparison, models: Mapping[str, Predictor] | None
) -> str:
    names = [str(name) for name in comparison.table.index]
    same = [name for name, model in (models or {}).items() if model is posterior]
    return same[0] if same and same[0] in names else names[-1]


def _taste(ratings: Ratings, user: object, titles: Mapping[object, object]) -> str:
    count, best = rated_highest(ratings, user, 5)
    if not best:
        return "<p>This user has no training ratings: the list is what the prior expects.</p>"
    liked = "; ".join(f"{title_of(item, titles)} ({value:g})" for item, value in best)
    return f"<p>{count:,} training ratings. Rated highest: {_text(liked)}.</p>"


def _text(value: object) -> str:
    return html.escape(str(value))


def _write(target: Path, page: str) -> None:
    # Beside the target, so that the replacement is one step on one file system.
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
