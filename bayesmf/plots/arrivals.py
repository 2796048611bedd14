"""What is known of someone new, as ratings come in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bayesmf.checks import check_titles
from bayesmf.ids import as_array, lookup_ids
from bayesmf.plots.style import grid, looks, prepare, styled
from bayesmf.ratings import Ratings
from bayesmf.validation import Described, check_integer, check_number, check_seed, fail

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes

COUNTS = (0, 1, 2, 5, 10, 20, 40)
MOST_ITEMS = 4


class Foldable(Protocol):
    """What the figure needs of a posterior."""

    ratings: Ratings

    def predict(self, pairs: object, *, prob: float | None = ..., kind: str = ...) -> pd.DataFrame:
        """Predict cells, with intervals."""

    def fold_in(
        self, new_ratings: object, *, side: str | None = ..., draws: int | None = ...,
        random_seed: int | None = ...,
    ) -> Foldable:  # fmt: skip
        """Fold rows in."""


@styled
def plot_fold_in(
    posterior: Foldable,
    new_ratings: pd.DataFrame,
    items: Sequence[Any],
    *,
    counts: Sequence[int] = COUNTS,
    titles: object = None,
    prob: float = 0.9,
    draws: int = 200,
    random_seed: int | None = 0,
    ax: Axes | None = None,
) -> Axes:
    """Expected ratings of some items by a new user, with intervals that shrink as ratings arrive.

    Parameters
    ----------
    posterior : Posterior
        Which the user is folded into, again and again.
    new_ratings : DataFrame
        Ratings of one user, with columns `user`, `item`, `rating`, in the order in which they
        arrive.
    items : sequence of ids
        One to four items, best such as the user has not rated.
    counts : sequence of int, default (0, 1, 2, 5, 10, 20, 40)
        How many ratings have arrived; those beyond what there is are left out.
    titles : mapping or Series, optional
        Titles by item id.
    prob : float, default 0.9
        Probability of the central intervals, which are of the expected rating, without noise.
    draws : int, default 200
        Draws to fold into, at most.
    random_seed : int, optional
        Of the draws of the user.
    ax : matplotlib Axes, optional

    Returns
    -------
    matplotlib Axes
        For each item a line of means with bars for its intervals, and the mean width in the title.

    Raises
    ------
    ValueError, TypeError
        For ratings of several users, unknown items, or wrong arguments.

    Examples
    --------
    >>> import bayesmf
    >>> from bayesmf import plots
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
    ...                         progressbar=False)
    >>> new = ratings.to_frame().head(12).assign(user=900)
    >>> plots.plot_fold_in(post, new, [39, 38]).get_xlabel()
    'ratings of the user that have arrived'
    """
    function = "plot_fold_in"
    table = posterior.ratings
    prob = check_number(prob, "prob", function, above=0, below=1)
    draws = check_integer(draws, "draws", function, minimum=1)
    check_seed(random_seed, function)
    named = check_titles(titles, "titles", function)
    wanted = as_array(list(items))
    if not 1 <= len(wanted) <= MOST_ITEMS:
        fail("items", function, f"one to {MOST_ITEMS} items", Described(f"{len(wanted)}"))
    unknown = np.flatnonzero(lookup_ids(wanted, table.item_ids, "item", "items", function) < 0)
    if len(unknown):
        fail("items", function, "items of the training ratings", wanted[unknown[0]])
    new = Ratings.coerce(new_ratings, "new_ratings", function, table.columns)
    if new.n_users != 1:
        fail("new_ratings", function, "ratings of one user", Described(f"{new.n_users} users"))
    steps = [check_integer(count, "counts", function) for count in counts]
    steps = [step for step in steps if step <= len(new)]
    if not steps:
        fail("counts", function, f"counts up to {len(new)}", Described(f"{list(counts)}"))
    user = new.user_ids.tolist()[0]
    cells = [(user, item) for item in wanted.tolist()]
    found = []
    for step in steps:
        asked = posterior
        if step:
            asked = posterior.fold_in(
                new_ratings[:step], side="user", draws=draws, random_seed=random_seed
            )
        elif user in table.user_ids:
            fail("new_ratings", function, "ratings of an unknown user, where counts have 0", user)
        found.append(asked.predict(cells, prob=prob, kind="latent"))
    mean, lower, upper = (
        np.array([part[name] for part in found]) for name in ("mean", "lower", "upper")
    )
    ax = prepare(ax)
    at = np.arange(len(steps))
    labels = [str(named.get(item, item)) for item in wanted.tolist()]
    for k, (name, look) in enumerate(looks(labels).items()):
        beside = at + 0.09 * (k - (len(labels) - 1) / 2)
        ax.vlines(beside, lower[:, k], upper[:, k], color=look.color, alpha=0.45, lw=3)
        ax.plot(
            beside, mean[:, k], color=look.color, marker=look.marker, ms=5.5, ls=look.dashes,
            lw=1.2, label=name,
        )  # fmt: skip
    ax.set_xticks(at, [f"{step}" for step in steps])
    first, last = ((upper - lower)[end].mean() for end in (0, -1))
    ax.set(
        xlabel="ratings of the user that have arrived",
        ylabel="expected rating",
        title=f"{prob:.0%} intervals: {first:.2f} wide at first, {last:.2f} in the end",
    )
    # Room below the data for the legend.
    low, high = lower.min(), upper.max()
    ax.set_ylim(low - 0.3 * (high - low), high + 0.05 * (high - low))
    ax.legend(loc="lower right", ncols=1 if max(map(len, labels)) > 24 else 2)
    grid(ax)
    return ax
