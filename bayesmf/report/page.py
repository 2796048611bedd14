"""One page about a posterior: its verdict first, then its data and what it is worth."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from jinja2 import Environment, StrictUndefined

from bayesmf.checks import check_titles
from bayesmf.diagnostics.alignment import align
from bayesmf.diagnostics.criticism import FEWEST_DRAWS, check_predictive
from bayesmf.diagnostics.grids import detect_grid
from bayesmf.diagnostics.pit import pit_of
from bayesmf.evaluation import compare
from bayesmf.plots.style import Sampled, decimals
from bayesmf.report.figures import (
    criticism_figures,
    factor_figures,
    fitting_figures,
    honesty_figures,
    prediction_figures,
)
from bayesmf.report.settings import call_text, versions
from bayesmf.report.tables import (
    comparison_html,
    facts_html,
    groups_html,
    meanings_html,
    rated_highest,
    recommendations_html,
    title_of,
)
from bayesmf.validation import Described, check_integer, fail

if TYPE_CHECKING:
    import pandas as pd

    from bayesmf.diagnostics.aligned import Alignment
    from bayesmf.diagnostics.convergence import Diagnostics
    from bayesmf.evaluation import Comparison, Predictor
    from bayesmf.model import BPMF
    from bayesmf.ratings import Ratings

REPLICATES = 60
"""Draws from which ratings are made up for the predictive check."""
ON_EACH_END = 4
"""Items that are named on each end of a factor."""
OWN_NAMES = ("BPMF", "this posterior", "the posterior of this page")
"""Names for the posterior; the first that no other model has."""
STATUS = {
    "converged": "The run has converged.",
    "not converged": "The run has not converged: read what follows with care.",
    "cannot say": "Whether the run has converged cannot be said.",
}


class Reported(Sampled, Protocol):
    """What a page needs of a posterior."""

    model: BPMF
    cores: int

    def diagnose(self) -> Diagnostics:
        """Judge convergence."""

    def recommend(
        self, users: object = ..., n: int = ..., *, prob: float = ..., kind: str = ...
    ) -> pd.DataFrame:
        """Best items for some users."""


class Judgement(NamedTuple):
    """Models on held-out ratings: the comparison, and which of its models the page is about."""

    comparison: Comparison
    models: Mapping[str, Predictor]
    name: str


def write_report(
    path: str | os.PathLike[str],
    posterior: Reported,
    judged: Judgement | None,
    *,
    name: str,
    about: str,
    titles: Mapping[Any, str],
    users: list[Any],
    n: int,
) -> Path:
    """Write the page under its name when it is complete; `Posterior.report` documents it."""
    target = Path(path)
    diagnostics, ratings = posterior.diagnose(), posterior.ratings
    verdict, digits = diagnostics.verdict, decimals(ratings.sd)
    check = check_predictive(posterior, draws=REPLICATES, random_seed=0)
    noise = float((1 / np.sqrt(posterior.data["posterior"]["alpha"].to_numpy())).mean())
    parts: dict[str, Any] = {
        "title": f"Bayesian matrix factorization of {name}",
        "verdict": verdict,
        "status": STATUS[verdict.status],
        "lead": None,
        "about": about,
        "facts": facts_html(ratings, 0 if judged is None else len(judged.comparison.cells)),
        "comparison": None,
        "findings": check.findings,
        "criticism": criticism_figures(check),
        "factors": None,
        "users": [
            user_part(posterior, user, titles, n, number)
            for number, user in enumerate(users, start=1)
        ],
        "noise": f"{noise:.{digits}f}",
        "chains": "pareto_k" not in posterior.data.attrs,
        "groups": groups_html(diagnostics),
        "fitting": fitting_figures(posterior, diagnostics, judged.models if judged else {}),
        "call": call_text(posterior),
        "versions": versions(posterior),
        "meanings": "",
        "version": version("bayesmf"),
    }
    if judged is not None:
        parts |= test_parts(posterior, judged)
    if posterior.model.n_factors and min(ratings.n_users, ratings.n_items) > 1:
        alignment = align(posterior)
        parts["factors"] = factor_parts(alignment, titles, digits)
        parts["factor_figures"] = factor_figures(posterior, alignment, titles)
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    source = files("bayesmf.report").joinpath("page.html").read_text("utf-8")
    _write(target, environment.from_string(source).render(parts))
    return target


def check_judged(test: object, models: object, posterior: Reported, function: str) -> None:
    """Check what a page is to compare on, and with."""
    kept = posterior.data["factors"].sizes
    if kept["chain"] * kept["draw"] < FEWEST_DRAWS:
        must = f"a result with at least {FEWEST_DRAWS} kept draws"
        got = Described(f"{kept['chain'] * kept['draw']}")
        fail("posterior", function, must, got)
    if models is not None:
        if not isinstance(models, Mapping) or not all(
            hasattr(one, "over_mixtures") for one in models.values()
        ):
            must = "a mapping of names to results of bayesmf.fit_*"
            fail("models", function, must, Described(type(models).__name__), TypeError)
        if test is None:
            must = "left out without test ratings to compare on"
            fail("models", function, must, Described(", ".join(map(str, models)) or "{}"))
    if test is not None:
        posterior.ratings.pairs(test, "test", function, with_rating=True)


def judge_models(posterior: Predictor, models: Mapping[str, Predictor], test: object) -> Judgement:
    """Compare models on held-out ratings, and the posterior if it is not among them."""
    every = {str(key): model for key, model in models.items()}
    same = [key for key, model in every.items() if model is posterior]
    shown = same[0] if same else next(name for name in OWN_NAMES if name not in every)
    every.setdefault(shown, posterior)
    return Judgement(compare(every, test), every, shown)


def test_parts(posterior: Reported, judged: Judgement) -> dict[str, Any]:
    """What held-out ratings say."""
    comparison, models, name = judged
    test = comparison.cells["test"]
    model = models[name]
    pairs = model.ratings.pairs(test, "test", "report", with_rating=True)
    levels = detect_grid(model.ratings.values, test["rating"].to_numpy())
    # The comparison has warned of cells that were trained on: once is enough.
    found = pit_of(model, pairs, levels)
    return {
        "lead": lead(comparison, name),
        "comparison": comparison_html(comparison),
        "protocol": comparison.protocol.split("\n"),
        "calibration": f"{name}, by the histogram of its predictive probabilities: "
        f"{found.statement}",
        "honesty": honesty_figures(comparison, posterior, models, found),
        "predictions": prediction_figures(comparison, posterior, name),
        "meanings": meanings_html(comparison.table.columns),
    }


def factor_parts(
    alignment: Alignment, titles: Mapping[Any, str], digits: int
) -> list[dict[str, str]]:
    """Share of each factor, and the items on its ends with their loadings."""
    shares, parts = alignment.strength["share"].to_numpy(), []
    for factor in range(alignment.n_factors):
        # Of few items one would stand on both ends.
        table = alignment.top_items(factor, ON_EACH_END).drop_duplicates("item")
        ends = {
            str(end): "; ".join(
                f"{title_of(row['item'], titles)} ({signed(row['loading'], digits)})"
                for row in part.to_dict("records")
            )
            for end, part in table.groupby("end")
        }
        parts.append({"share": f"{shares[factor]:.0%}", "top": "", "bottom": "", **ends})
    return parts


def signed(value: float, digits: int) -> str:
    """Write a number with its sign, and a minus that is one."""
    return f"{value:+.{digits}f}".replace("-", "−")


def user_part(
    posterior: Reported, user: object, titles: Mapping[Any, str], n: int, number: int
) -> dict[str, Any]:
    """What one user has rated, and what is recommended."""
    best = posterior.recommend([user], n, kind="latent", prob=0.9)
    count, highest = rated_highest(posterior.ratings, user, 5)
    taste = "No training ratings: the list is what the prior expects."
    if count:
        liked = "; ".join(f"{title_of(item, titles)} ({value:g})" for item, value in highest)
        taste = f"{count:,} training ratings. Rated highest: {liked}."
    table = recommendations_html(best, posterior.ratings, titles, number)
    return {"id": user, "taste": taste, "table": table}


def some_users(ratings: Ratings) -> list[Any]:
    """Return three users: with few, with the median, and with many ratings."""
    order = np.argsort(np.diff(ratings.by_user.indptr), kind="stable")
    places = {int(share * (len(order) - 1)) for share in (0.1, 0.5, 0.95)}
    return [ratings.user_ids[int(order[place])] for place in sorted(places)]


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


def check_page(
    path: object, n: object, titles: object, users: object, ratings: Ratings, function: str
) -> tuple[Mapping[Any, str], list[Any], int]:
    """Check what a page is asked for, before anything is worked out."""
    if not isinstance(path, (str, os.PathLike)):
        fail("path", function, "a path", path, TypeError)
    target = Path(path)
    if not target.parent.is_dir():
        fail("path", function, "a file in a folder that exists", str(path), FileNotFoundError)
    if not target.name or target.is_dir():
        fail("path", function, "a file, not a folder", str(path))
    n = check_integer(n, "n", function, minimum=1)
    called = check_titles(titles, "items", function)
    if users is None:
        return called, some_users(ratings), n
    listed = [users] if np.ndim(users) == 0 else list(users)  # type: ignore[arg-type, call-overload]
    return called, listed, n


def _write(target: Path, page: str) -> None:
    # Beside the target, so that the replacement is one step on one file system.
    part = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
