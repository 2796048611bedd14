"""How far the other side's rows would move if they heard of what was folded in.

Folding in is exact given old draws, whose other side has not seen the new ratings. To put that
right each draw would be weighted by how well it foretells them, the row integrated out: log
p(all ratings of the row | draw) - log p(those that had been fitted | draw). With even weights
nothing moves; where few draws have most of the weight the old draws are not those of a refit. The
tail of the weights has Pareto's k-hat (Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72)),
which with the smoothed weights is ArviZ's.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmf.diagnostics.pointwise import FEWEST_DRAWS
from bayesmf.draws.reading import KeptDraws
from bayesmf.folding import OTHER, Known, compressed_rows, ids_of
from bayesmf.indexing import Side, chunks
from bayesmf.kernels.blocks import over_blocks
from bayesmf.kernels.dense import whole
from bayesmf.kernels.evidence import row_evidence
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from bayesmf.ratings import Ratings

ROWS_AT_ONCE = 4096
"""Rows whose weights are smoothed at a time."""


def log_weights(
    tree: xr.DataTree, ratings: Ratings, before: Known, side: str, cores: int
) -> np.ndarray:
    """Log importance weights (n_draws, n_rows), up to a constant of the row.

    Parameters
    ----------
    tree : xarray.DataTree
        Draws, of which those of the other side are read.
    ratings : Ratings
        All ratings of the rows.
    before : Known
        Those of them that the draws have seen, by the same rows.
    side : {"user", "item"}
    cores : int
    """
    reader = KeptDraws(tree)
    other = OTHER[side]
    compressed, values = compressed_rows(ratings, side)
    tables = [(1.0, compressed, values), (-1.0, before.side, before.values)]
    codes = np.unique(np.concatenate([compressed.partners, before.side.partners]))
    tables = [
        (sign, Side(s.indptr, np.searchsorted(codes, s.partners).astype(np.int32)), y)
        for sign, s, y in tables
        if len(y)
    ]
    mean, precision = reader.hyper(side)
    root = 1 / reader.noise_sd
    d, k = mean.shape[1], reader.n_factors
    out = np.zeros((reader.n_draws, compressed.n_rows))
    nobody = codes[:0]
    asked = (nobody, codes) if side == "user" else (codes, nobody)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(1, cores - 1)) as pool:
        for block in reader.blocks(*asked):
            at = block.items if side == "user" else block.users
            factors, bias = getattr(block, f"{other}_factors"), getattr(block, f"{other}_bias")

            def one(place: int, draw: int, at=at, factors=factors, bias=bias) -> None:  # type: ignore[no-untyped-def]
                x = np.ones((len(at), d))
                x[:, :k] = factors[place].take(at, axis=0)
                expected = reader.center + x @ mean[draw]
                if reader.has_bias:
                    expected += bias[place].take(at)
                inverse_root = np.linalg.inv(np.linalg.cholesky(precision[draw]))
                whitened = np.zeros((len(at), whole(d, x.itemsize)))
                whitened[:, :d] = root[draw] * (x @ inverse_root.T)
                for sign, rows, y in tables:
                    found = np.empty(rows.n_rows)
                    row_evidence(
                        0, rows.n_rows, rows.indptr, rows.partners, y, whitened, expected,
                        root[draw], d, found,
                    )  # fmt: skip
                    out[draw] += sign * found

            draws = range(block.draws.start, block.draws.stop)
            over_blocks(one, draws, pool if cores > 1 else None)
    if not np.isfinite(out).all():
        raise np.linalg.LinAlgError(
            "The evidence of a row is lost to rounding: its ratings or the noise are too extreme."
        )
    return out


def fold_weights(
    tree: xr.DataTree, ratings: Ratings, before: Known, side: str, cores: int
) -> pd.DataFrame:
    """Pareto k-hat and effective draws of the weights that each row by itself asks for.

    Parameters
    ----------
    tree, ratings, before, side, cores
        As in `log_weights`.

    Returns
    -------
    DataFrame
        By id of the rows: `n_ratings`, `pareto_k`, `ess` (draws of equal weight that would be worth
        as much) and `refit`, whether k-hat is above min(1 - 1 / log10(draws), 0.7).

    Raises
    ------
    ValueError
        For fewer than 25 draws.
    numpy.linalg.LinAlgError
        If the evidence of a row is lost to rounding.
    """
    sizes = tree["factors"].sizes
    n_draws = sizes["chain"] * sizes["draw"]
    if n_draws < FEWEST_DRAWS:
        must = f"folded in with at least {FEWEST_DRAWS} kept draws"
        fail("posterior", "fold_weights", must, Described(f"{n_draws}"))
    import arviz_stats  # noqa: F401, PLC0415 - takes seconds to import; gives arrays `azstats`

    weights = log_weights(tree, ratings, before, side, cores)
    n_rows = weights.shape[1]
    khat, ess = np.empty(n_rows), np.empty(n_rows)
    for rows in chunks(n_rows, ROWS_AT_ONCE):
        # ArviZ takes minus the log weights, as if they were log likelihoods to be left out.
        minus = xr.DataArray(-weights[:, rows], dims=("sample", "row"))
        smoothed, found = minus.azstats.psislw(dim="sample")
        khat[rows] = found.to_numpy()
        normed = smoothed.transpose("row", "sample").to_numpy()
        normed = np.exp(normed - normed.max(axis=1, keepdims=True))
        ess[rows] = normed.sum(axis=1) ** 2 / np.square(normed).sum(axis=1)
    compressed, _ = compressed_rows(ratings, side)
    n_ratings = np.diff(compressed.indptr)
    limit = min(1 - 1 / math.log10(n_draws), 0.7)
    return pd.DataFrame(
        {
            "n_ratings": n_ratings,
            "pareto_k": khat,
            "ess": ess,
            "refit": ~(khat <= limit),
        },
        index=ids_of(ratings, side),
    )
