"""How far the other side's rows would move if they heard of what was folded in.

Folding in is exact given old draws, whose other side has not seen the new ratings. To put that
right each draw would be weighted by how well it foretells them, the row integrated out: log
p(all ratings of the row | draw) - log p(those that had been fitted | draw). With even weights
nothing moves; where few draws have most of the weight the old draws are not those of a refit. The
tail of the weights has Pareto's k-hat (Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25(72)),
which with the smoothed weights is ArviZ's.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmf.diagnostics.measures import good_khat
from bayesmf.diagnostics.pointwise import FEWEST_DRAWS
from bayesmf.draws.reading import KeptDraws
from bayesmf.folding.planning import OTHER, Known, compressed_rows, ids_of
from bayesmf.indexing import chunks
from bayesmf.kernels.blocks import over_blocks
from bayesmf.kernels.dense import whole
from bayesmf.kernels.evidence import row_evidence
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.draws.reading import Block
    from bayesmf.indexing import Side
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
    compressed, values = compressed_rows(ratings, side)
    codes = np.unique(np.concatenate([compressed.partners, before.side.partners]))
    tables = [_Table(1.0, *_among(compressed, codes), values)]
    if len(before.values):
        tables.append(_Table(-1.0, *_among(before.side, codes), before.values))
    hyper, root = reader.hyper(side), 1 / reader.noise_sd
    out = np.zeros((reader.n_draws, compressed.n_rows))
    nobody = codes[:0]
    asked = (nobody, codes) if side == "user" else (codes, nobody)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(1, cores - 1)) as pool:
        for block in reader.blocks(*asked):
            first = block.draws.start
            draws = range(first, block.draws.stop)
            partners = partial(_partners, block, OTHER[side])

            def one(place: int, draw: int, partners: _Read = partners) -> None:
                mean, precision = (part[draw] for part in hyper)
                factors, bias = partners(place)
                _add(tables, factors, bias, reader.center, mean, precision, root[draw], out[draw])

            over_blocks(one, draws, pool if cores > 1 else None)
    if not np.isfinite(out).all():
        raise np.linalg.LinAlgError(
            "The evidence of a row is lost to rounding: its ratings or the noise are too extreme."
        )
    return out


class _Table(NamedTuple):
    # Compressed rows whose evidence counts so often.
    times: float
    indptr: np.ndarray
    partners: np.ndarray
    values: np.ndarray


type _Read = Callable[[int], tuple[np.ndarray, np.ndarray]]


def _among(side: Side, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return side.indptr, np.searchsorted(codes, side.partners).astype(np.int32)


def _partners(block: Block, side: str, place: int) -> tuple[np.ndarray, np.ndarray]:
    # Factors (n_partners, K) and biases (n_partners,), or (0,), in a draw of the block.
    at = block.users if side == "user" else block.items
    factors, bias = getattr(block, f"{side}_factors")[place], getattr(block, f"{side}_bias")[place]
    return factors.take(at, axis=0), bias.take(at) if len(bias) else bias


def _add(
    tables: list[_Table],
    factors: np.ndarray,
    bias: np.ndarray,
    center: float,
    mean: np.ndarray,
    precision: np.ndarray,
    root: float,
    out: np.ndarray,
) -> None:
    # Add the log evidence of all rows in one draw, each table's so often as it counts.
    n, k, d = len(factors), factors.shape[1], len(mean)
    x = np.ones((n, d))
    x[:, :k] = factors
    expected = center + x @ mean
    if d > k:
        expected += bias
    inverse_root = np.linalg.inv(np.linalg.cholesky(precision))
    whitened = np.zeros((n, whole(d, x.itemsize)))
    whitened[:, :d] = root * (x @ inverse_root.T)
    found = np.empty(len(out))
    for times, indptr, partners, values in tables:
        row_evidence(0, len(out), indptr, partners, values, whitened, expected, root, d, found)
        out += times * found


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
    limit = good_khat(n_draws)
    return pd.DataFrame(
        {
            "n_ratings": n_ratings,
            "pareto_k": khat,
            "ess": ess,
            "refit": ~(khat <= limit),
        },
        index=ids_of(ratings, side),
    )
