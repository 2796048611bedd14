"""Draws of factors turned to one another, so that people can read them.

The likelihood leaves the factors free up to any invertible matrix, so that a draw's columns mean
nothing beside another draw's. `align` gives each draw the form that can be compared, without a
change of any u.v: centred, balanced, turned to simple structure, and matched to one reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr
from threadpoolctl import threadpool_limits

from bayesmf.canonical import canonical_factors, nearest_rotation, singular_values
from bayesmf.checks import check_factors
from bayesmf.diagnostics.aligned import Alignment
from bayesmf.diagnostics.rotation import signed_matching, varimax
from bayesmf.indexing import evenly
from bayesmf.validation import check_choice, check_integer

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.diagnostics.identified import Kept

MOST_BYTES = 256_000_000
"""Bytes of aligned loadings that are kept; of a larger table fewer draws are aligned."""
DEGENERATE = 1e-6
"""A factor so much shorter than the longest on both sides is rounding error, and is kept as 0."""
MEANS = 2
"""Times that the draws are turned to their mean; it hardly changes after that."""
STORED = np.float32
_AXES = ("chain", "draw")

type Place = tuple[int, int]


class Sides(NamedTuple):
    """Balanced loadings (n_users, K) and (n_items, K) of one draw."""

    users: np.ndarray
    items: np.ndarray

    def turned(self, rotation: np.ndarray) -> Sides:
        """Both sides by the same rotation."""
        return Sides(self.users @ rotation, self.items @ rotation)

    def products(self, other: Sides) -> np.ndarray:
        """Inner products (K, K) of columns, with the same weight for each side."""
        # Each side times the root of its rows, as in varimax.
        return (
            len(self.users) * self.users.T @ other.users
            + len(self.items) * self.items.T @ other.items
        )


class Draws(NamedTuple):
    """The draws to align: all chains of a group of factor draws, and positions of draws in it."""

    group: xr.Dataset
    at: list[int]

    @property
    def places(self) -> list[Place]:
        """Chain and position in `at` of every draw."""
        return list(np.ndindex(self.group.sizes["chain"], len(self.at)))

    def raw(self, place: Place) -> list[np.ndarray]:
        """Factors of users and of items in one draw, in double precision."""
        chain, draw = place
        return [
            self.group[name].to_numpy()[chain, self.at[draw]].astype(np.float64)
            for name in ("user_factors", "item_factors")
        ]

    def sides(self, place: Place) -> Sides:
        """One draw in balanced form."""
        return Sides(*canonical_factors(*self.raw(place)))


def align(posterior: Kept, *, draws: int = 200, method: str = "procrustes") -> Alignment:
    """Turn the draws of the factors to one another; `Posterior.align` documents it.

    Each draw is centred over rows, balanced by the thin singular value decomposition of the
    interaction such that U'U = V'V, and turned by a rotation that is the same for both sides. The
    reference to begin with is the draw of the median condition number.

    "procrustes": orthogonal Procrustes to the mean of the turned draws, over again, as Aßmann,
    Boysen-Hogrefe & Pape (2016, Journal of Econometrics 192(1)) do with weights; then varimax of
    the mean. "matchalign": varimax of each draw, and greedy signed matching of its columns to the
    reference (Poworoznek, Anceschi, Ferrari & Dunson 2021, arXiv:2107.13783). Varimax is here that
    of users and items together, and starts from the rotation that is nearest to the reference: of
    several maxima all draws then find the same one.
    """
    group = posterior.data["factors"].to_dataset()
    check_factors(group.sizes["factor"], "align")
    chains, kept = group.sizes["chain"], group.sizes["draw"]
    # R-hat needs as many draws of each chain.
    draws = check_integer(draws, "draws", "align", minimum=chains)
    check_choice(method, "method", "align", ("procrustes", "matchalign"))
    rank = min(group.sizes[name] for name in ("factor", "user", "item"))
    per_draw = np.dtype(STORED).itemsize * rank * (group.sizes["user"] + group.sizes["item"])
    wanted = min(draws // chains, kept)
    each = max(1, min(wanted, MOST_BYTES // (per_draw * chains)))
    note = ""
    if each < wanted:
        megabytes = MOST_BYTES // 1_000_000
        note = f"{each * chains} draws, not {wanted * chains}: more take over {megabytes} MB."
    at = evenly(kept, each).tolist()
    source = Draws(group, at)
    prepare = _matched if method == "matchalign" else _nearest
    # Of such small products BLAS makes threads that wait for one another.
    with threadpool_limits(1, user_api="blas"):
        pivot = _pivot(source, rank)
        aligned = _collect(source, prepare(source, pivot), rank)
    reference = int(group["chain"][pivot[0]]), int(group["draw"][at[pivot[1]]])
    independent = "pareto_k" in posterior.data.attrs
    return Alignment(aligned, method, reference, independent, note)


def _pivot(source: Draws, rank: int) -> Place:
    # The draw of the median condition number, as in the paper. No rotation changes it.
    def condition(place: Place) -> float:
        centred = [rows - rows.mean(axis=0) for rows in source.raw(place)]
        values = singular_values(*(rows.T @ rows for rows in centred))
        # Centring may have taken the last of few rows' directions.
        last = values[min(rank, *(len(rows) - 1 for rows in centred)) - 1]
        return float(values[0] / last) if last > 0 else np.inf

    places = source.places
    order = np.argsort([condition(place) for place in places], kind="stable")
    return places[order[(len(order) - 1) // 2]]


def _matched(source: Draws, pivot: Place) -> Callable[[Sides], Sides]:
    reference = source.sides(pivot)
    reference = reference.turned(varimax(*reference))
    lengths = np.diag(reference.products(reference))

    def turn(sides: Sides) -> Sides:
        start = nearest_rotation(sides.products(reference))
        sides = sides.turned(varimax(*sides, start=start))
        own = np.diag(sides.products(sides))
        return sides.turned(signed_matching(sides.products(reference), own, lengths))

    return turn


def _nearest(source: Draws, pivot: Place) -> Callable[[Sides], Sides]:
    reference, places = source.sides(pivot), source.places

    def turn(sides: Sides) -> Sides:
        return sides.turned(nearest_rotation(sides.products(reference)))

    for _ in range(MEANS):
        users, items = (np.zeros_like(side) for side in reference)
        for place in places:
            turned = turn(source.sides(place))
            users += turned.users
            items += turned.items
        reference = Sides(users / len(places), items / len(places))
    reference = reference.turned(varimax(*reference))
    return turn


def _collect(source: Draws, turn: Callable[[Sides], Sides], rank: int) -> xr.Dataset:
    group, at = source
    chains, each = group.sizes["chain"], len(at)
    users, items = (
        np.empty((chains, each, group.sizes[side], rank), STORED) for side in ("user", "item")
    )
    share = np.empty((chains, each, rank))
    for place in source.places:
        sides = turn(source.sides(place))
        share[place] = shares(*sides)
        # The scale goes to the items: theirs are in ratings, users' in sds.
        scale = np.sqrt(np.square(sides.users).mean(axis=0))
        zero = scale <= DEGENERATE * scale.max()
        users[place] = np.where(zero, 0.0, sides.users / np.where(zero, 1.0, scale))
        items[place] = np.where(zero, 0.0, sides.items * scale)
    mean = items.mean(axis=(0, 1), dtype=np.float64)
    signs = np.sign(mean[np.abs(mean).argmax(axis=0), np.arange(rank)])
    signs[signs == 0] = 1.0
    order = np.argsort(-share.mean(axis=(0, 1)), kind="stable")
    # Draw by draw, since the whole is as large as memory allows.
    for place in source.places:
        for side in (users, items):
            side[place] = side[place][:, order] * signs[order]
    variables = {
        "user_loadings": ((*_AXES, "user", "factor"), users),
        "item_loadings": ((*_AXES, "item", "factor"), items),
        "share": ((*_AXES, "factor"), share[:, :, order]),
    }
    coords = {name: group[name].to_numpy() for name in ("chain", "user", "item")}
    coords |= {"draw": group["draw"].to_numpy()[at], "factor": np.arange(rank)}
    return xr.Dataset(variables, coords=coords)


def shares(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """Share (K,) of the variance of the interaction U V' that each factor carries.

    That of factor k is the inner product of u_k v_k' with the whole, over the whole's square. They
    add up to 1, and with balanced sides none is negative; all are 0 where there is no interaction.
    """
    products: np.ndarray = ((users.T @ users) * (items.T @ items)).sum(axis=0)
    total = products.sum()
    return products / total if total > 0 else np.zeros_like(products)
