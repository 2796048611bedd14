"""The recorder: takes states on the working scale, keeps draws on the rating scale.

Every draw of what is identified is kept; factors are thinned. The recorder is handed to the chains,
each of which writes only its own slice: no lock is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bayesmf.canonical import effects, singular_values
from bayesmf.scales import rows_to_ratings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bayesmf.draws.keeping import Keeping
    from bayesmf.draws.probes import Probes
    from bayesmf.gibbs.sampler import Info, State
    from bayesmf.model import BPMF
    from bayesmf.ratings import Pairs, Ratings


class Watched(NamedTuple):
    """Cells that a run looks at in every draw.

    Attributes
    ----------
    probes : Probes
        Cells, users and items by which convergence is judged.
    test : Pairs, optional
        Held-out ratings; the RMSE of each chain's running mean prediction is kept.
    tracked : Pairs, optional
        Cells whose running mean and variance are kept.
    """

    probes: Probes
    test: Pairs | None = None
    tracked: Pairs | None = None


class Recording(NamedTuple):
    """What is to be recorded.

    Attributes
    ----------
    ratings : Ratings
    model : BPMF
    chains, draws : int
    keeping : Keeping
        Which draws of factors are kept, and how many draws are in memory at a time.
    watched : Watched
    """

    ratings: Ratings
    model: BPMF
    chains: int
    draws: int
    keeping: Keeping
    watched: Watched


class Recorder:
    """Arrays for the draws of all chains.

    Parameters
    ----------
    recording : Recording
    """

    def __init__(self, recording: Recording) -> None:
        ratings, model, chains, self.draws, keeping, watched = recording
        scale = model.working_scale(ratings)
        self.model, self.scale, self.keeping, self.watched = model, scale, keeping, watched
        self.chains, probes = chains, watched.probes
        n, m, k, d = ratings.n_users, ratings.n_items, model.n_factors, model.n_coordinates
        self.n_ratings = len(ratings)

        def every(*shape: int) -> np.ndarray:
            return np.empty((chains, keeping.every, *shape))

        def thinned(*shape: int) -> np.ndarray:
            return np.empty((chains, keeping.block, *shape), dtype=np.float32)

        def exact(*shape: int) -> np.ndarray:
            # Small, and inverted or taken to powers later: precisions overflow in float32 soon.
            return np.empty((chains, keeping.block, *shape))

        self.posterior: dict[str, np.ndarray] = {
            "alpha": every(),
            "total_log_likelihood": every(),
            "train_rmse": every(),
            "intercept": every(),
            "singular_value": every(k),
            "probe": every(len(probes.users)),
            "user_effect": every(len(probes.effect_users)),
            "item_effect": every(len(probes.effect_items)),
        }
        self.factors: dict[str, np.ndarray] = {}
        if keeping.thin:
            self.factors = {
                "user_factors": thinned(n, k),
                "item_factors": thinned(m, k),
                "alpha": exact(),
                "user_center": exact(k),
                "item_center": exact(k),
                "mu_user": exact(d),
                "mu_item": exact(d),
                "precision_user": exact(d, d),
                "precision_item": exact(d, d),
            }
            if model.biases:
                self.factors |= {"user_bias": thinned(n), "item_bias": thinned(m)}
        self.stats: dict[str, np.ndarray] = {"seconds": every()}
        self.recorded = np.zeros(chains, dtype=np.int64)
        self.sums: dict[str, np.ndarray] = {}
        if watched.test is not None:
            self.stats["test_rmse"] = every()
            self.sums["test"] = np.zeros((chains, len(watched.test.users)))
        if watched.tracked is not None:
            for name in ("tracked_mean", "tracked_squares"):
                self.sums[name] = np.zeros((chains, len(watched.tracked.users)))
        self._unit = scale.units(k, model.biases)
        self._units = {np.dtype(name): self._unit.astype(name) for name in ("f4", "f8")}

    def train_rmse(self, info: Info) -> float:
        """Root mean squared training residual on the rating scale."""
        return float(self.scale.scale * np.sqrt(info.squared_error / self.n_ratings))

    def record(self, chain: int, draw: int, state: State, info: Info, seconds: float) -> None:
        """Keep one draw of one chain."""
        at, scale, k = (chain, draw % self.keeping.every), self.scale, self.model.n_factors
        users, items = state.user_rows, state.item_rows
        keep, probes = self.posterior, self.watched.probes
        self.recorded[chain] = draw + 1
        keep["alpha"][at] = scale.alpha_to_ratings(state.alpha)
        # The density of the ratings, not of their working-scale form: a change of variable.
        keep["total_log_likelihood"][at] = info.log_likelihood - self.n_ratings * np.log(
            scale.scale
        )
        keep["train_rmse"][at] = self.train_rmse(info)
        assert state.user_moments is not None  # noqa: S101 - a sweep leaves them
        assert state.item_moments is not None  # noqa: S101
        (user_mean, user_scatter), (item_mean, item_scatter) = (
            state.user_moments, state.item_moments,
        )  # fmt: skip
        found = effects(
            users[probes.effect_users], items[probes.effect_items], user_mean, item_mean,
            self.model.biases,
        )  # fmt: skip
        keep["intercept"][at] = scale.to_ratings(found.intercept)
        keep["user_effect"][at] = scale.scale * found.user_effect
        keep["item_effect"][at] = scale.scale * found.item_effect
        if k:
            values = singular_values(user_scatter[:k, :k], item_scatter[:k, :k])
            keep["singular_value"][at] = scale.scale * values
        keep["probe"][at] = self._latent(users[probes.users], items[probes.items])
        self.stats["seconds"][at] = seconds
        test, tracked = self.watched.test, self.watched.tracked
        if test is not None:
            means = user_mean, item_mean
            self.stats["test_rmse"][at] = self._test_rmse(chain, draw, test, state, means)
        if tracked is not None:
            self._track(chain, draw, self._latent(users[tracked.users], items[tracked.items]))
        # The first of every `thin`: an interrupted run has a row for its draws, however few.
        thin = self.keeping.thin
        if thin and draw % thin == 0:
            kept = (chain, draw // thin % self.keeping.block)
            try:
                with np.errstate(over="raise"):
                    self._record_factors(kept, state)
            except FloatingPointError as error:
                raise FloatingPointError(
                    f"A draw of sweep {state.sweep} is too large to be kept: the prior, the centre "
                    "or the scale is too extreme."
                ) from error

    def _latent(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        # Means of cells on the rating scale, given the rows of each on the working scale.
        k = self.model.n_factors
        cells = np.einsum("nk,nk->n", users[:, :k], items[:, :k], dtype=np.float64)
        if self.model.biases:
            cells += users[:, k]
            cells += items[:, k]
        return self.scale.to_ratings(cells)

    def _test_rmse(
        self,
        chain: int,
        draw: int,
        test: Pairs,
        state: State,
        means: tuple[np.ndarray, np.ndarray],
    ) -> float:
        assert test.ratings is not None  # noqa: S101 - the caller has checked
        # An unknown id has no row; its running prediction takes the mean row of its side.
        own, partners = state.user_rows[test.users], state.item_rows[test.items]
        own[test.users < 0], partners[test.items < 0] = means
        total = self.sums["test"][chain]
        total += self._latent(own, partners)
        return float(np.sqrt(np.mean((total / (draw + 1) - test.ratings) ** 2)))

    def _track(self, chain: int, draw: int, cells: np.ndarray) -> None:
        # Welford (1962), Technometrics 4: the mean, and the sum of squares around it.
        mean, squares = (self.sums[name][chain] for name in ("tracked_mean", "tracked_squares"))
        before = cells - mean
        mean += before / (draw + 1)
        squares += before * (cells - mean)

    def _record_factors(self, kept: tuple[int, int], state: State) -> None:
        keep, k = self.factors, self.model.n_factors
        keep["alpha"][kept] = self.scale.alpha_to_ratings(state.alpha)
        for side in ("user", "item"):
            rows, hyper, moments = state.rows(side), state.hyper(side), state.moments(side)
            assert moments is not None  # noqa: S101 - a sweep leaves them
            keep[f"{side}_center"][kept] = moments[0][:k] * self._unit[:k]
            factors = keep[f"{side}_factors"][kept]
            bias = keep[f"{side}_bias"][kept] if self.model.biases else None
            rows_to_ratings(rows, self._units[rows.dtype], factors, bias)
            mean, precision = self.scale.prior_to_ratings(
                hyper.mean, hyper.precision, self.model.biases
            )
            keep[f"mu_{side}"][kept], keep[f"precision_{side}"][kept] = mean, precision

    def begin(self, states: Sequence[State]) -> None:
        """Take notice of where chains start: nothing to do where draws are in memory."""

    def swept(self, chain: int, state: State) -> None:
        """Take notice of a sweep whose draw, if it has one, is recorded."""

    def end(self, states: Sequence[State]) -> None:
        """Take notice of where chains have ended or been interrupted."""

    def keep_chains(self, chains: int) -> None:
        """Forget all but the first chains: an interrupt may come before the others."""
        self.chains, self.recorded = chains, self.recorded[:chains]
        for arrays in (self.posterior, self.factors, self.stats, self.sums):
            for name in arrays:
                arrays[name] = arrays[name][:chains]

    def trimmed(self, draws: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Posterior, factors and statistics of the first `draws` draws of every chain."""
        kept = self.keeping.kept(draws)
        return (
            {name: array[:, :draws] for name, array in self.posterior.items()},
            {name: array[:, :kept] for name, array in self.factors.items()},
            {name: array[:, :draws] for name, array in self.stats.items()},
        )
