"""Top-N lists: best items for users, nearest rows, items that load on a factor.

Scores of all that may be recommended come some users at a time; intervals are
computed only for the few cells that a list shows.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr

from bayesmf.canonical import canonical_factors, canonical_row, nearest_rotation
from bayesmf.draws.reading import KeptDraws
from bayesmf.indexing import chunks, evenly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bayesmf.eligible import Eligible
    from bayesmf.indexing import Side
    from bayesmf.sources import Source

LISTS_AT_ONCE = 64
"""Users whose lists one thread sorts at a time."""
MAX_DRAWS = 100
"""Draws used for similarities and loadings, evenly spaced: enough for a mean and an interval."""


class Listed(NamedTuple):
    """One user's list: codes of items, best first, and the scores that they are sorted by."""

    items: np.ndarray
    scores: np.ndarray


class Scorer(NamedTuple):
    """What gives users (codes) their scores (n_users, n_items) of the items asked for.

    `users_at_once` is how many of them there is room for.
    """

    users_at_once: int
    scores: Callable[[np.ndarray], np.ndarray]


NOTHING = Listed(np.empty(0, dtype=np.intp), np.empty(0))


def top_n(scores: np.ndarray, n: int) -> np.ndarray:
    """Columns of the n largest scores of each row, best first; ties go to the lower column."""
    n = min(n, scores.shape[1])
    part = np.argpartition(-scores, n - 1, axis=1)[:, :n] if n < scores.shape[1] else None
    if part is None:
        return np.argsort(-scores, axis=1, kind="stable")
    # Which of those that tie with the last one are among them is left to chance: put that right.
    last = np.take_along_axis(scores, part, axis=1).min(axis=1)
    tied = np.flatnonzero((scores >= last[:, None]).sum(axis=1) > n)
    for row in tied:
        above, equal = scores[row] > last[row], np.flatnonzero(scores[row] == last[row])
        part[row] = np.concatenate([np.flatnonzero(above), equal[: n - above.sum()]])
    part.sort(axis=1)
    order = np.argsort(-np.take_along_axis(scores, part, axis=1), axis=1, kind="stable")
    best: np.ndarray = np.take_along_axis(part, order, axis=1)
    return best


def best_of(scores: np.ndarray, barred: np.ndarray, items: np.ndarray, n: int) -> list[Listed]:
    """List the n best of items (codes) for each row of scores, which are changed; fewer if barred.

    `scores` and `barred` are (n_rows, n_items).
    """
    if not len(items):
        return [NOTHING] * len(scores)
    scores[barred] = -np.inf
    left = len(items) - barred.sum(axis=1)
    lists = top_n(scores, n)
    return [
        Listed(items[best[:count]], row[best[:count]])
        for best, row, count in zip(lists, scores, left, strict=True)
    ]


def recommend(
    scorer: Scorer,
    users: np.ndarray,
    n: int,
    eligible: Eligible,
    seen: Side | None,
    *,
    cores: int,
) -> list[Listed]:
    """Best items of each known user (code); shorter lists where nothing is left."""
    items = eligible.items
    found: list[Listed] = []
    for some in chunks(len(users), scorer.users_at_once):
        codes = users[some]
        found_here = scorer.scores(codes)

        def best(
            rows: slice,
            start: int = some.start,
            codes: np.ndarray = codes,
            found_here: np.ndarray = found_here,
        ) -> list[Listed]:
            those = slice(start + rows.start, start + rows.stop)
            barred = eligible.barred(those, seen, codes[rows])
            return best_of(found_here[rows], barred, items, n)

        with ThreadPoolExecutor(cores) as pool:
            for part in pool.map(best, chunks(len(codes), LISTS_AT_ONCE)):
                found += part
    return found


def recommend_unknown(scores: np.ndarray, n: int, eligible: Eligible) -> list[Listed]:
    """Best items of users who were never seen, given scores (n_users, n_items) or (1, n_items)."""
    users, items = len(eligible.rows), eligible.items
    if len(scores) == 1 and eligible.same_for_all:
        everything = np.zeros(scores.shape, dtype=bool)
        return best_of(scores, everything, items, n) * users
    found: list[Listed] = []
    for some in chunks(users, LISTS_AT_ONCE):
        barred = eligible.barred(some, None, eligible.rows[some])
        own = scores if len(scores) == 1 else scores[some]
        found += best_of(np.broadcast_to(own, barred.shape).copy(), barred, items, n)
    return found


def similarities(source: Source, side: str, n_users: int, n_items: int, code: int) -> np.ndarray:
    """Cosines (n_draws, n_rows) of one row with all rows of its side, in canonical coordinates."""
    cosines = []
    for users, items in _canonical(source, n_users, n_items):
        own = users if side == "user" else items
        norms = np.linalg.norm(own, axis=1)
        # A row at the centre has no direction: its cosines are zero.
        unit = own / np.where(norms > 0, norms, 1.0)[:, None]
        cosines.append(unit @ unit[code])
    return np.array(cosines)


def similarities_across(
    folded: xr.DataTree, fitted: xr.DataTree, side: str, code: int
) -> np.ndarray:
    """Cosines (n_draws, n_rows) of a row that was folded in with all rows that were fitted.

    Parameters
    ----------
    folded, fitted : xarray.DataTree
        Draws of the folded rows, which are some of those of the fit, and of the fit.
    side : {"user", "item"}
    code : int
        Of the row, among those that were folded in.
    """
    own = folded["factors"].to_dataset()
    n_chains, kept = own.sizes["chain"], own.sizes["draw"]
    own = own.isel(draw=evenly(kept, max(1, MAX_DRAWS // n_chains)))
    theirs = fitted["factors"].to_dataset().sel(chain=own["chain"], draw=own["draw"])
    rows = own[f"{side}_factors"].isel({side: code}).to_numpy()
    rows = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    constant = fitted["constant_data"].to_dataset()
    reader = KeptDraws(xr.DataTree.from_dict({"factors": theirs, "constant_data": constant}))
    everyone = (np.arange(theirs.sizes[name]) for name in ("user", "item"))
    cosines = []
    for block in reader.blocks(*everyone):
        for row, *both in zip(
            rows[block.draws], block.user_factors, block.item_factors, strict=True
        ):
            at = int(side == "item")
            canonical = canonical_factors(*both)
            turned = canonical_row(row, both[at], both[1 - at], canonical[1 - at])
            lengths = np.linalg.norm(canonical[at], axis=1) * np.linalg.norm(turned)
            # A row at the centre has no direction: its cosines are zero.
            cosines.append(canonical[at] @ turned / np.where(lengths > 0, lengths, 1.0))
    return np.array(cosines)


def loadings(source: Source, n_users: int, n_items: int) -> np.ndarray:
    """Items' canonical loadings (n_draws, n_items, K), each draw turned towards the last one.

    The turn is the rotation that brings both sides nearest to the last draw's (orthogonal
    Procrustes, Schoenemann 1966), which leaves every u . v as it is.
    """
    pairs = list(_canonical(source, n_users, n_items))
    reference = np.vstack(pairs[-1])
    turned = []
    for users, items in pairs:
        turned.append(items @ nearest_rotation(np.vstack([users, items]).T @ reference))
    return np.array(turned)


def _canonical(
    source: Source, n_users: int, n_items: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for block in source.blocks(np.arange(n_users), np.arange(n_items)):
        for users, items in zip(block.user_factors, block.item_factors, strict=True):
            yield canonical_factors(users, items)
