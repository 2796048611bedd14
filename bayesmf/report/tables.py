"""The tables of a page as HTML: facts of the data, the comparison, recommendations."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from bayesmf.diagnostics.convergence import shown_groups
from bayesmf.diagnostics.verdict import NAMES
from bayesmf.evaluation import INTERVALS
from bayesmf.plots.style import decimals

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bayesmf.diagnostics.convergence import Diagnostics
    from bayesmf.evaluation import Comparison
    from bayesmf.ratings import Ratings


class Metric(NamedTuple):
    """How a column of the comparison is shown: which way is better, or towards which value."""

    label: str
    arrow: str
    direction: str
    digits: int
    meaning: str
    target: float | None = None


def _metrics() -> dict[str, Metric]:
    small, large = ("↓", "smaller is better"), ("↑", "larger is better")
    found = {
        "RMSE": Metric("RMSE", *small, 4, "Root mean squared error of the predicted means."),
        "MAE": Metric("MAE", *small, 4, "Mean absolute error of the predicted means."),
        "log_score": Metric(
            "Log score", *large, 4, "Mean log predictive density of what was observed."
        ),
        "CRPS": Metric(
            "CRPS", *small, 4,
            "Continuous ranked probability score: the absolute error of a whole distribution.",
        ),
    }  # fmt: skip
    for p in INTERVALS:
        percent = f"{100 * p:.0f}"
        found[f"coverage_{percent}"] = Metric(
            f"Coverage {percent}%", f"→ <i>{p:g}</i>", f"nearer to {p:g} is better", 3,
            "", p,
        )  # fmt: skip
    for p in INTERVALS:
        percent = f"{100 * p:.0f}"
        found[f"width_{percent}"] = Metric(
            f"Width {percent}%", "↓", "narrower is better where coverage is right", 3,
            "",
        )  # fmt: skip
    found["fit_seconds"] = Metric("Fit (seconds)", *small, 1, "Wall time of the fit.")
    return found


METRICS = _metrics()
_INTERVAL_MEANINGS = {
    "coverage": "Share of test ratings inside the interval. Nearer to what it promises is better.",
    "width": "Mean width of the interval. Narrower is better where coverage is right.",
}
RIGHT_COVERAGE = 0.02
"""A width counts as best only beside a coverage this near to nominal: narrow alone is easy."""


def best_models(table: pd.DataFrame, column: str) -> list[str]:
    """Models that share the best shown value of a column; none for a column that is unknown."""
    metric = METRICS.get(column)
    values = table[column]
    if column.startswith("width_"):
        level = column.removeprefix("width_")
        near = (table[f"coverage_{level}"] - float(level) / 100).abs() <= RIGHT_COVERAGE
        values = values[near]
    if metric is None or len(table) < 2 or values.empty:
        return []
    cost = values if metric.target is None else (values - metric.target).abs()
    cost = (-cost if metric.arrow == "↑" else cost).round(metric.digits)
    return [str(name) for name in cost.index[cost == cost.min()]]


def comparison_html(comparison: Comparison) -> str:
    """The comparison with a row for each metric, its best values marked."""
    table = comparison.table
    heads = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in table.index)
    rows = []
    for column in table.columns:
        metric = METRICS.get(column, Metric(column, "", "", 4, ""))
        best = best_models(table, column)
        cells = []
        for name in table.index:
            shown = f"{table.loc[name, column]:.{metric.digits}f}".replace("-", "−")
            cells.append(f"<td><b>{shown}</b></td>" if name in best else f"<td>{shown}</td>")
        direction = f'<span class="way" title="{metric.direction}">{metric.arrow}</span>'
        rows.append(
            f'<tr><th scope="row">{html.escape(metric.label)} {direction}</th>{"".join(cells)}</tr>'
        )
    return (
        '<div class="wide"><table class="numbers" id="comparison"><thead><tr>'
        f'<th scope="col">Metric</th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def facts_html(ratings: Ratings, n_test: int) -> str:
    """What the data are, as a list of terms."""
    low, high = ratings.bounds
    share, digits = len(ratings) / (ratings.n_users * ratings.n_items), decimals(ratings.sd)
    facts = {
        "users": f"{ratings.n_users:,}",
        "items": f"{ratings.n_items:,}",
        "training ratings": f"{len(ratings):,}",
        **({"test ratings": f"{n_test:,}"} if n_test else {}),
        "of the cells rated": f"{100 * share:.2g}%",
        "scale": f"{low:g} to {high:g}",
        "mean ± sd": f"{ratings.mean:.{digits}f} ± {ratings.sd:.{digits}f}",
    }
    terms = (f"<div><dt>{term}</dt><dd>{value}</dd></div>" for term, value in facts.items())
    return f'<dl class="facts">{"".join(terms)}</dl>'


def recommendations_html(
    table: pd.DataFrame, ratings: Ratings, titles: Mapping[object, object], number: int
) -> str:
    """Items with the mean and interval of their expected rating, and both drawn to scale."""
    # The drawing spans the intervals, which in a Gaussian model may pass the end of the scale.
    top, digits = ratings.bounds[1], decimals(ratings.sd)
    unit = 10.0 ** np.floor(np.log10(ratings.sd)) if ratings.sd > 0 else 1.0
    start = unit * np.floor(min([top - unit, *table["lower"]]) / unit)
    end = unit * np.ceil(max([top, *table["upper"]]) / unit)

    def x(value: float) -> str:
        return f"{4 + 132 * (value - start) / (end - start):.1f}"

    rows = []
    for row in table.to_dict("records"):
        lower, mean, upper = row["lower"], row["mean"], row["upper"]
        drawn = (
            '<svg viewBox="0 0 140 14" width="140" height="14" aria-hidden="true">'
            '<line class="track" x1="4" x2="136" y1="7" y2="7"/>'
            f'<line class="top" x1="{x(top)}" x2="{x(top)}" y1="1" y2="13"/>'
            f'<line class="bar" x1="{x(lower)}" x2="{x(upper)}" y1="7" y2="7"/>'
            f'<circle cx="{x(mean)}" cy="7" r="3.4"/></svg>'
        )
        rows.append(
            f'<tr><td class="rank">{row["rank"]}</td>'
            f'<th scope="row">{html.escape(title_of(row["item"], titles))}</th>'
            f"<td>{mean:.{digits}f}</td>"
            f'<td class="interval">{lower:.{digits}f} to {upper:.{digits}f}</td>'
            f'<td class="drawn">{drawn}</td></tr>'
        )
    heads = (
        '<td></td><th scope="col" class="left">Item</th><th scope="col">Expected</th>'
        '<th scope="col">90% interval</th>'
        f'<th scope="col" class="drawn">{start:g} to {end:g}, mark at {top:g}</th>'
    )
    return (
        f'<div class="wide"><table class="numbers" id="recommendations-{number}">'
        f"<thead><tr>{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def groups_html(diagnostics: Diagnostics) -> str:
    """Convergence of each group of quantities."""
    shown = shown_groups(diagnostics.groups)
    heads = "".join(f'<th scope="col">{html.escape(str(head))}</th>' for head in shown)
    rows = "".join(
        f'<tr><th scope="row">{NAMES[str(name)]}</th>'
        f"{''.join(f'<td>{value}</td>' for value in row)}</tr>"
        for name, row in zip(shown.index, shown.to_numpy(), strict=True)
    )
    return (
        '<div class="wide"><table class="numbers" id="groups"><thead><tr>'
        f'<th scope="col">Quantity</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def title_of(item: object, titles: Mapping[object, object]) -> str:
    """Return the item's title, or its id where it has none."""
    return str(titles.get(item, item))


def rated_highest(ratings: Ratings, user: object, n: int) -> tuple[int, list[tuple[object, float]]]:
    """How many ratings a user gave, and the n highest as (item, rating)."""
    code = int(ratings.user_ids.get_indexer(pd.Index([user]))[0])
    if code < 0:
        return 0, []
    side = ratings.by_user
    own = slice(side.indptr[code], side.indptr[code + 1])
    items, values = side.partners[own], ratings.values[own]
    best = np.argsort(-values, kind="stable")[:n]
    return len(items), [(ratings.item_ids[items[k]], float(values[k])) for k in best]


def meanings_html(columns: pd.Index) -> str:
    """What each metric of a table measures; the levels of the intervals are told as one."""
    told: dict[str, str] = {}
    for column in columns:
        if column in METRICS:
            metric = METRICS[column]
            kind = column.partition("_")[0]
            if kind in ("coverage", "width"):
                told[kind.capitalize()] = _INTERVAL_MEANINGS[kind]
            else:
                told[metric.label] = f"{metric.meaning} {metric.direction.capitalize()}."
    return "".join(
        f"<dt>{html.escape(label)}</dt><dd>{html.escape(text)}</dd>" for label, text in told.items()
    )
