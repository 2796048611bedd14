"""The cells, users and items whose every draw is kept, so that convergence can be judged.

They are stratified by the number of ratings, since popular rows mix slowly and rare ones are wide.
The choice depends on the data alone, so that runs with different seeds can be compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

N_STRATA = 5
N_EFFECTS = 20


class Probes(NamedTuple):
    """Codes of probe cells (n,), (n,), and of users and items whose effects are kept."""

    users: np.ndarray
    items: np.ndarray
    effect_users: np.ndarray
    effect_items: np.ndarray


def choose_probes(ratings: Ratings, n_cells: int) -> Probes:
    """Choose up to `n_cells` distinct cells from a grid of strata of users and items."""
    rng = np.random.default_rng(20080705)
    n_cells = min(n_cells, ratings.n_users * ratings.n_items)
    strata = [
        np.array_split(np.argsort(np.diff(side.indptr), kind="stable"), N_STRATA)
        for side in (ratings.by_user, ratings.by_item)
    ]
    strata = [[part for part in side if len(part)] for side in strata]
    grid = [(users, items) for users in strata[0] for items in strata[1]]
    keys = np.empty(0, dtype=np.int64)
    while len(keys) < n_cells:
        # Every stratum gives as many again as are wanted; what is drawn twice counts once.
        new = [
            rng.choice(users, per) * ratings.n_items + rng.choice(items, per)
            for users, items in grid
            for per in [-(-n_cells // len(grid))]
        ]
        found, first = np.unique(np.concatenate([keys, *new]), return_index=True)
        keys = found[np.argsort(first)]
    keys = np.sort(rng.permutation(keys)[:n_cells])
    chosen = [
        np.unique(np.concatenate([rng.choice(part, N_EFFECTS // N_STRATA) for part in side]))
        for side in strata
    ]
    return Probes(keys // ratings.n_items, keys % ratings.n_items, chosen[0], chosen[1])
