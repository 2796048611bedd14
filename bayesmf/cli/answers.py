"""Commands that ask a stored posterior: `predict` and `recommend`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from bayesmf.cli import options
from bayesmf.cli.messages import say
from bayesmf.cli.tables import (
    Names,
    cells_from,
    check_out,
    ids_like,
    note_unknown,
    posterior_from,
    put,
)

_Prob = Annotated[float, Option(help="Probability of the intervals.")]
_Latent = Annotated[
    bool, Option("--latent", help="Intervals of the expected rating, without the noise of one.")
]


def predict(
    store: options.StoreArgument,
    pairs: Annotated[
        Path, Argument(metavar="PAIRS", help="Table of users and items, in any of the formats.")
    ],
    out: options.OutFile = None,
    prob: _Prob = 0.9,
    *,
    latent: _Latent = False,
    clip: Annotated[bool, Option("--clip", help="Keep means within the rating scale.")] = False,
    user_col: options.UserCol = None,
    item_col: options.ItemCol = None,
) -> None:
    """Predict ratings: mean, sd and interval of each pair of user and item.

    Users and items that were not in the ratings are welcome; their intervals are wider. Rows come
    in the order of the file.

    **Examples**

    - `bayesmf predict run.zarr pairs.csv`
    - `bayesmf predict run.zarr pairs.csv > predictions.csv`
    - `bayesmf predict run.zarr pairs.parquet --out predictions.parquet --prob 0.8 --clip`
    """
    check_out(out)
    post = posterior_from(store)
    names = Names(user_col, item_col)
    asked = cells_from(pairs, names, post.ratings, with_rating=False)
    found = post.predict(asked, prob=prob, kind=_kind(latent), clip=clip)
    users = found["user"].isin(post.ratings.user_ids)
    strange = len(found) - int((users & found["item"].isin(post.ratings.item_ids)).sum())
    if strange:
        say(
            f"bayesmf: note: {strange:,} of {len(found):,} pairs have a user or an item without "
            "ratings: wide intervals."
        )
    put(found, out)


def recommend(
    store: options.StoreArgument,
    user: Annotated[
        list[str] | None,
        Option("--user", "-u", metavar="ID", help="Whom for, once or often; by default all."),
    ] = None,
    n: Annotated[int, Option("--n", "-n", help="Items for each user.")] = 10,
    out: options.OutFile = None,
    prob: _Prob = 0.9,
    strategy: Annotated[
        str,
        Option(help="What lists are sorted by: mean, ucb, thompson, probability or affinity."),
    ] = "mean",
    width: Annotated[
        float | None, Option(help="Of ucb: how many standard deviations are added to the mean.")
    ] = None,
    threshold: Annotated[
        float | None, Option(help="Of probability: the rating that is good enough.")
    ] = None,
    seed: Annotated[int | None, Option(help="Of thompson: the same seed picks the same.")] = None,
    *,
    latent: _Latent = False,
    seen: Annotated[bool, Option("--seen", help="Also what the user has rated already.")] = False,
) -> None:
    """Recommend the best items to users, with intervals.

    A user without ratings gets what is widely liked, and a note says so on standard error.

    **Examples**

    - `bayesmf recommend run.zarr --user 42`
    - `bayesmf recommend run.zarr --user 42 --user 43 -n 5 > lists.csv`
    - `bayesmf recommend run.zarr --user 42 --strategy probability --threshold 3.5`
    - `bayesmf recommend run.zarr --out everybody.parquet`
    """
    check_out(out)
    post = posterior_from(store)
    users = None
    if user:
        users = ids_like(user, post.ratings)
        note_unknown(users, post.ratings)
    found = post.recommend(
        users, n, strategy=strategy, width=width, threshold=threshold, random_seed=seed,
        exclude_seen=not seen, prob=prob, kind=_kind(latent),
    )  # fmt: skip
    put(found, out)


def _kind(latent: bool) -> str:
    return "latent" if latent else "predictive"
