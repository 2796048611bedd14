"""Rows folded in: each kept draw's exact conditional of new rows, the rest of the draw as it is.

Given the other side's rows, the noise and its side's mean and precision, a row is Gaussian and
depends on no other row of its side (Salakhutdinov & Mnih 2008, eqs. 11-13). So a new row is drawn
in every kept draw by the row update of the sampler, and a known row that has new ratings is drawn
anew from all it has. What new ratings would say of the other side's rows stays unsaid; how much
that is, `bayesmf.diagnostics.fold_weights` tells.

Draws are kept on the rating scale. Rows are drawn on the working scale of the fit, where single
precision holds whatever the unit of the ratings.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmf.draws.reading import KeptDraws, kept_factors, spread
from bayesmf.folding.planning import OTHER, compressed_rows, ids_of
from bayesmf.indexing import Side, chunks
from bayesmf.kernels.blocks import SideData, over_blocks
from bayesmf.kernels.streams import Purpose, Streams
from bayesmf.kernels.updates import prepare
from bayesmf.scales import WorkingScale, rows_to_ratings

if TYPE_CHECKING:
    from concurrent.futures import Executor

    import pandas as pd

    from bayesmf.draws.reading import Block
    from bayesmf.folding.planning import Folding

DRAWS_AT_ONCE = 256
"""Draws that the normals of a row are made for at a time: few enough that many rows fit."""

NORMALS_BYTES = 32_000_000
"""Bytes of normals, and so of rows, that are worked on at a time."""

ROWS_PER_CALL = 64
"""Rows whose normals a thread makes at a time."""


def fold(
    tree: xr.DataTree, folding: Folding, *, limit: int, seed: int, cores: int, has_bias: bool
) -> xr.DataTree:
    """Draw the rows in at most `limit` of the kept draws, into a tree of the same schema.

    The tree has the chosen draws of all but the rows of the folded side as they were, read from a
    store only as they are needed. The mean factors of either side stay those of all rows that were
    fitted.

    Raises
    ------
    ValueError
        If no draws of factors were kept.
    numpy.linalg.LinAlgError, FloatingPointError
        If a row's precision is lost to rounding, or a draw is not finite.
    """
    side, own = folding.side, ids_of(folding.ratings, folding.side)
    group = kept_factors(tree)
    chains, draws = spread(group, limit)
    # None of the rows that were there, so that none of them is read or copied.
    kept = group.isel({side: slice(0, 0)})
    if len(draws) < group.sizes["draw"]:
        kept = kept.isel(draw=draws)
    if len(chains) < group.sizes["chain"]:
        kept = kept.isel(chain=chains)
    attributes = dict(tree.attrs)
    constant = tree["constant_data"].to_dataset()
    reader = KeptDraws(xr.DataTree.from_dict({"factors": kept, "constant_data": constant}))
    scale = WorkingScale(reader.center, float(attributes["scale"]))
    factors, bias = draw_rows(
        reader, folding, scale, np.dtype(attributes["dtype"]), seed=seed, cores=cores
    )
    shape = kept.sizes["chain"], kept.sizes["draw"], len(own)
    names = [f"{side}_factors"] + [f"{side}_bias"] * has_bias
    new: dict[str, Any] = {
        names[0]: (("chain", "draw", side, "factor"), factors.reshape(*shape, -1))
    }
    if has_bias:
        new[names[1]] = (("chain", "draw", side), bias.reshape(shape))
    rows = kept.drop_vars([*names, side]).assign(new).assign_coords({side: own.to_numpy()})
    attributes |= {"random_seed": seed, "folded": side}
    attributes.pop("data_fingerprint", None)
    table = folding.ratings
    fixed = {
        "center": constant["center"], "scale": constant["scale"],
        "user_code": ("rating_id", table.users), "item_code": ("rating_id", table.items),
    }  # fmt: skip
    coords = {"user": table.user_ids.to_numpy(), "item": table.item_ids.to_numpy()}
    return xr.DataTree.from_dict(
        {
            "/": xr.Dataset(attrs=attributes),
            "posterior": kept[["alpha"]],
            "factors": rows,
            "constant_data": xr.Dataset(fixed, coords=coords),
            "observed_data": xr.Dataset({"rating": ("rating_id", table.values)}),
        }
    )


class _Scaled(NamedTuple):
    # What each draw gives, on the working scale, and the units of a row in the type of the rows.
    alpha: np.ndarray
    mean: np.ndarray
    precision: np.ndarray
    units: np.ndarray
    has_bias: bool


def draw_rows(
    reader: KeptDraws,
    folding: Folding,
    scale: WorkingScale,
    dtype: np.dtype,
    *,
    seed: int,
    cores: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw all rows in all draws of a reader: factors (n_draws, n_rows, K), bias (n_draws, n_rows).

    A row's normals belong to its id, and its arithmetic to its ratings: the same bits with any
    number of threads, and whoever is folded in with it.
    """
    side = folding.side
    compressed, values = compressed_rows(folding.ratings, side)
    targets = scale.to_working(values).astype(dtype)
    codes, local = np.unique(compressed.partners, return_inverse=True)
    compressed = compressed._replace(partners=local.astype(np.int32))
    has_bias = reader.has_bias
    k, n_rows = reader.n_factors, compressed.n_rows
    d = k + has_bias
    units = scale.units(k, has_bias)
    alpha = scale.alpha_to_working(1 / reader.noise_sd**2)
    given = _Scaled(
        alpha, *scale.prior_to_working(*reader.hyper(side), has_bias), units.astype(dtype), has_bias
    )
    factors = np.empty((reader.n_draws, n_rows, k), dtype=np.float32)
    bias = np.empty((reader.n_draws, n_rows if has_bias else 0), dtype=np.float32)
    ids = ids_of(folding.ratings, side)
    streams, words = Streams.of_chain(seed, 0), [_place(side, one) for one in ids]
    at_once = min(reader.n_draws, DRAWS_AT_ONCE)
    size = max(1, NORMALS_BYTES // (dtype.itemsize * d * at_once))
    parts = [
        (rows, _part(compressed, targets, rows, d, len(codes))) for rows in chunks(n_rows, size)
    ]
    nobody = codes[:0]
    asked = (nobody, codes) if side == "user" else (codes, nobody)
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(max(1, cores - 1)) as pool:
        executor = pool if cores > 1 else None  # this thread works too
        for block in reader.blocks(*asked):
            partners = _Partners.of(block, OTHER[side], units, dtype)
            for run in chunks(block.draws.stop - block.draws.start, DRAWS_AT_ONCE):
                first = block.draws.start + run.start
                draws = range(first, block.draws.start + run.stop)
                for rows, data in parts:
                    z = _normals(streams, words[rows], draws, d, dtype, executor)
                    one = _Task(data, partners, given, block.draws.start, z, draws, ids[rows])
                    _draw_part(one, factors[:, rows], bias[:, rows], executor)
    return factors, bias


def _place(side: str, one: Any) -> tuple[int, int]:
    # Where an id's normals begin: 63 bits of a hash that is the same in every process.
    digest = hashlib.blake2b(f"{side} {one!r}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "little")
    return number >> 33, number & 0xFFFFFFFF


def _part(compressed: Side, targets: np.ndarray, rows: slice, d: int, n_partners: int) -> SideData:
    indptr = compressed.indptr[rows.start : rows.stop + 1]
    own = slice(int(indptr[0]), int(indptr[-1]))
    side = Side(indptr - own.start, compressed.partners[own])
    # All rows by their D x D systems, none in segments: how a row is drawn must not depend on
    # others. One range of rows, since threads take draws.
    return SideData.build(side, targets[own], d, n_partners)._replace(
        blocks=(range(side.n_rows),), segments=(), normal_starts=np.arange(side.n_rows + 1) * d
    )


class _Partners(NamedTuple):
    # Draws of the partners that have ratings, and what takes them to the working scale.
    factors: np.ndarray
    bias: np.ndarray
    places: np.ndarray
    inverse: np.ndarray

    @classmethod
    def of(cls, block: Block, side: str, units: np.ndarray, dtype: np.dtype) -> _Partners:
        factors, bias = getattr(block, f"{side}_factors"), getattr(block, f"{side}_bias")
        places = block.users if side == "user" else block.items
        return cls(factors, bias, places, (1 / units).astype(dtype))

    def rows(self, draw: int) -> np.ndarray:
        """Rows (n_partners, D) of a draw of the block, on the working scale."""
        k, inverse = self.factors.shape[2], self.inverse
        rows = np.empty((len(self.places), len(inverse)), inverse.dtype)
        np.multiply(self.factors[draw].take(self.places, axis=0), inverse[:k], out=rows[:, :k])
        if len(inverse) > k:
            np.multiply(self.bias[draw].take(self.places), inverse[k], out=rows[:, k])
        return rows


def _normals(
    streams: Streams,
    words: list[tuple[int, int]],
    draws: range,
    d: int,
    dtype: np.dtype,
    executor: Executor | None,
) -> np.ndarray:
    # Of each row (n_rows, n_draws, D), each row's laid end to end in the order of draws. The upper
    # half of a counter is the row's, its lower half counts: 2^32 of them reach for any run.
    z = np.empty((len(words), len(draws), d), dtype)
    per_row = 1 << 34  # numbers of 2^32 counters

    def some(_: int, rows: slice) -> None:
        for row in range(rows.start, rows.stop):
            high, low = words[row]
            start = high * per_row // (1 if dtype.itemsize == 4 else 2)
            made = streams.normals(
                start + draws.start * d, start + draws.stop * d, low, Purpose.FOLD_IN, dtype
            )
            z[row] = made.reshape(len(draws), d)

    over_blocks(some, tuple(chunks(len(words), ROWS_PER_CALL)), executor)
    return z


class _Task(NamedTuple):
    # Some rows in some draws; `first` is the draw with which the partners' block begins.
    data: SideData
    partners: _Partners
    given: _Scaled
    first: int
    normals: np.ndarray
    draws: range
    ids: pd.Index[Any]


def _draw_part(
    task: _Task, factors: np.ndarray, bias: np.ndarray, executor: Executor | None
) -> None:
    data, given = task.data, task.given
    dtype, n_rows, d = data.targets.dtype, data.side.n_rows, task.normals.shape[2]

    def one(_: int, draw: int) -> None:
        update = prepare(
            data, task.partners.rows(draw - task.first), given.has_bias, float(given.alpha[draw]),
            given.mean[draw], given.precision[draw], None,
        )  # fmt: skip
        out = np.empty((n_rows, d), dtype)
        z = np.ascontiguousarray(task.normals[:, draw - task.draws.start]).reshape(-1)
        failed = update.block(range(n_rows), z, out)
        if failed >= 0:
            raise np.linalg.LinAlgError(
                f"The precision of row {task.ids.tolist()[failed]!r} is lost to rounding: its "
                "ratings, the prior or the noise are too extreme."
            )
        if not np.isfinite(out).all():
            raise FloatingPointError("A draw is not finite: a new rating is too extreme.")
        with np.errstate(over="raise"):
            own_bias = bias[draw] if given.has_bias else None
            rows_to_ratings(out, given.units, factors[draw], own_bias)

    over_blocks(one, tuple(task.draws), executor)
