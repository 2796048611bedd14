"""Warm starts: chains that begin where those of an earlier fit have ended, on more ratings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmf.gibbs.conditionals import Hyper
from bayesmf.gibbs.sampler import SIDES, State
from bayesmf.ratings import Ratings
from bayesmf.seeds import generator
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    import xarray as xr

    from bayesmf.model import BPMF
    from bayesmf.scales import WorkingScale


def joined(known: Ratings, new: object, function: str) -> Ratings:
    """Put new ratings to the known ones; of a pair that is in both the new one counts.

    Raises
    ------
    ValueError, TypeError
        For a table that is wrong, or whose ids are of another type.
    """
    fresh = Ratings.coerce(new, "new_ratings", function, prefer=known.columns)
    known.pairs(fresh, "new_ratings", function, with_rating=True)  # are the ids of their type?
    names = {fresh.columns[role]: known.columns[role] for role in known.columns}
    tables = [known.to_frame(), fresh.to_frame().rename(columns=names)]
    kinds = {table["timestamp"].dtype.kind for table in tables if "timestamp" in table}
    if any("timestamp" not in table for table in tables):
        tables = [table.drop(columns="timestamp", errors="ignore") for table in tables]
    elif len(kinds) > 1:
        must = "a table whose timestamps are of the kind of those there are"
        got = Described(" and ".join(str(table["timestamp"].dtype) for table in tables))
        fail("new_ratings", function, must, got, TypeError)
    for table in tables:
        table.attrs.clear()
    return Ratings(
        pd.concat(tables, ignore_index=True), user_col=known.columns["user"],
        item_col=known.columns["item"], rating_col=known.columns["rating"], duplicates="last",
    )  # fmt: skip


def last_states(
    tree: xr.DataTree, old: Ratings, new: Ratings, model: BPMF, dtype: str, seed: int
) -> list[State]:
    """Make of each chain's last kept draw a state on the working scale of all ratings.

    Rows of new users and items are drawn from the prior of that draw.

    Parameters
    ----------
    tree : DataTree
        Draws, on the rating scale.
    old, new : Ratings
        What they were fitted to, and what chains will go on with.
    model : BPMF
    dtype : str
        Type of the rows.
    seed : int
        For new rows.
    """
    scale = model.working_scale(new)
    last = tree["factors"].to_dataset().isel(draw=-1).load()
    center = float(tree["constant_data"]["center"])
    rng = generator(seed, "rows of a warm start")
    states = []
    for chain in range(last.sizes["chain"]):
        draw = last.isel(chain=chain)
        rows, hypers = {}, {}
        for side in SIDES:
            n_rows = new.n_users if side == "user" else new.n_items
            hypers[side] = _hyper(draw, side, model, scale, n_rows)
            rows[side] = _rows(draw, side, model, scale, (old, new), hypers[side], rng)
        if model.biases:
            # What the centre gains, items lose.
            gain = scale.to_working(center)
            rows["item"][:, -1] += gain
            hypers["item"].mean[-1] += gain
        alpha = scale.alpha_to_working(float(draw["alpha"]))
        users, items = (np.ascontiguousarray(rows[side], dtype=dtype) for side in SIDES)
        states.append(State(0, users, items, hypers["user"], hypers["item"], alpha))
    return states


def _hyper(draw: xr.Dataset, side: str, model: BPMF, scale: WorkingScale, n_rows: int) -> Hyper:
    mean, precision = scale.prior_to_working(
        draw[f"mu_{side}"].to_numpy(), draw[f"precision_{side}"].to_numpy(), model.biases
    )
    # Where it is learned, a sweep draws the strength anew before it uses it.
    prior = model.prior.resolve(n_rows, model.n_factors, model.biases)
    return Hyper(mean, precision, prior.strength)


def _rows(
    draw: xr.Dataset,
    side: str,
    model: BPMF,
    scale: WorkingScale,
    ratings: tuple[Ratings, Ratings],
    hyper: Hyper,
    rng: np.random.Generator,
) -> np.ndarray:
    known, everyone = (r.user_ids if side == "user" else r.item_ids for r in ratings)
    unit = scale.units(model.n_factors, model.biases)
    root = np.linalg.cholesky(np.linalg.inv(hyper.precision))
    rows = hyper.mean + rng.standard_normal((len(everyone), len(unit))) @ root.T
    parts = [draw[f"{side}_factors"].to_numpy()]
    if model.biases:
        parts.append(draw[f"{side}_bias"].to_numpy()[:, None])
    rows[everyone.get_indexer(known)] = np.hstack(parts) / unit
    return rows
