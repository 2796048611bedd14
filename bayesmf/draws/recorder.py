"""The recorder: takes states on the working scale, keeps draws on the rating scale.

Every draw of what is identified is kept; factors are thinned so that they fit the memory budget.
The recorder is handed to the chains, each of which writes only its own slice: no lock is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bayesmf.canonical import effects, singular_values
from bayesmf.validation import Described, fail

if TYPE_CHECKING:
    from bayesmf.draws.probes import Probes
    from bayesmf.gibbs.sampler import Info, State
    from bayesmf.model import BPMF, WorkingScale
    from bayesmf.ratings import Pairs, Ratings


class Recorder:
    """Arrays for the draws of all chains.

    Parameters
    ----------
    ratings : Ratings
    model : BPMF
    scale : WorkingScale
    chains, draws : int
    memory_budget : int
        Bytes for the thinned factor draws of all chains.
    probes : Probes
    test : Pairs, optional
        Held-out ratings; the RMSE of each chain's running mean prediction is kept.
    function : str
        Named in errors.

    Raises
    ------
    ValueError
        If the budget does not hold one draw of each chain.
    """

    def __init__(
        self,
        ratings: Ratings,
        model: BPMF,
        scale: WorkingScale,
        *,
        chains: int,
        draws: int,
        memory_budget: int,
        probes: Probes,
        test: Pairs | None,
        function: str,
    ) -> None:
        self.model, self.scale, self.probes, self.test = model, scale, probes, test
        self.draws = draws
        n, m, k, d = ratings.n_users, ratings.n_items, model.n_factors, model.n_coordinates
        self.n_ratings = len(ratings)
        per_draw = 4 * (n + m) * d + 8 * (2 * (d * (d + 1) + k) + 1)
        per_chain = memory_budget // (per_draw * chains)
        if per_chain < 1:
            need = per_draw * chains / 1e6
            must = f"at least {need:.3g}MB, what one draw of each of {chains} chains takes"
            fail("memory_budget", function, must, Described(f"{memory_budget / 1e6:g}MB"))
        self.thin = -(-draws // per_chain)
        kept = -(-draws // self.thin)

        def every(*shape: int) -> np.ndarray:
            return np.empty((chains, draws, *shape))

        def thinned(*shape: int) -> np.ndarray:
            return np.empty((chains, kept, *shape), dtype=np.float32)

        def exact(*shape: int) -> np.ndarray:
            # Small, and inverted or taken to powers later: precisions overflow in float32 soon.
            return np.empty((chains, kept, *shape))

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
        self.factors: dict[str, np.ndarray] = {
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
        if test is not None:
            self.stats["test_rmse"] = every()
            self._test_sum = np.zeros((chains, len(test.users)))
        self._unit = scale.units(k, model.biases)
        self._units = {np.dtype(name): self._unit.astype(name) for name in ("f4", "f8")}
        self._unit_products = np.outer(self._unit, self._unit)

    def train_rmse(self, info: Info) -> float:
        """Root mean squared training residual on the rating scale."""
        return float(self.scale.scale * np.sqrt(info.squared_error / self.n_ratings))

    def record(self, chain: int, draw: int, state: State, info: Info, seconds: float) -> None:
        """Keep one draw of one chain."""
        at, scale, k = (chain, draw), self.scale, self.model.n_factors
        users, items = state.user_rows, state.item_rows
        keep, probes = self.posterior, self.probes
        keep["alpha"][at] = state.alpha / scale.scale**2
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
        keep["intercept"][at] = scale.center + scale.scale * found.intercept
        keep["user_effect"][at] = scale.scale * found.user_effect
        keep["item_effect"][at] = scale.scale * found.item_effect
        if k:
            values = singular_values(user_scatter[:k, :k], item_scatter[:k, :k])
            keep["singular_value"][at] = scale.scale * values
        keep["probe"][at] = self._latent(users[probes.users], items[probes.items])
        self.stats["seconds"][at] = seconds
        if self.test is not None:
            self._record_test(at, users, items, user_mean, item_mean)
        # The first of every `thin`: an interrupted run has a row for its draws, however few.
        if draw % self.thin == 0:
            kept = (chain, draw // self.thin)
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
        return self.scale.center + self.scale.scale * cells

    def _record_test(
        self,
        at: tuple[int, int],
        users: np.ndarray,
        items: np.ndarray,
        user_mean: np.ndarray,
        item_mean: np.ndarray,
    ) -> None:
        test = self.test
        assert test is not None  # noqa: S101 - the caller has checked
        assert test.ratings is not None  # noqa: S101
        # An unknown id has no row; its running prediction takes the mean row of its side.
        own, partners = users[test.users], items[test.items]
        own[test.users < 0], partners[test.items < 0] = user_mean, item_mean
        self._test_sum[at[0]] += self._latent(own, partners)
        error = self._test_sum[at[0]] / (at[1] + 1) - test.ratings
        self.stats["test_rmse"][at] = np.sqrt(np.mean(error**2))

    def _record_factors(self, kept: tuple[int, int], state: State) -> None:
        keep, k = self.factors, self.model.n_factors
        keep["alpha"][kept] = state.alpha / self.scale.scale**2
        for side in ("user", "item"):
            rows, hyper, moments = state.rows(side), state.hyper(side), state.moments(side)
            assert moments is not None  # noqa: S101 - a sweep leaves them
            keep[f"{side}_center"][kept] = moments[0][:k] * self._unit[:k]
            out = keep[f"{side}_factors"][kept]
            # In the rows' own type, so that NumPy need not go through float64.
            unit = self._units[rows.dtype]
            np.multiply(rows[:, :k], unit[:k], out=out, casting="same_kind")
            if self.model.biases:
                out = keep[f"{side}_bias"][kept]
                np.multiply(rows[:, k], unit[k], out=out, casting="same_kind")
            keep[f"mu_{side}"][kept] = hyper.mean * self._unit
            keep[f"precision_{side}"][kept] = hyper.precision / self._unit_products

    def keep_chains(self, chains: int) -> None:
        """Forget all but the first chains: an interrupt may come before the others."""
        for arrays in (self.posterior, self.factors, self.stats):
            for name in arrays:
                arrays[name] = arrays[name][:chains]

    def trimmed(self, draws: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        """Posterior, factors and statistics of the first `draws` draws of every chain."""
        kept = -(-draws // self.thin)
        return (
            {name: array[:, :draws] for name, array in self.posterior.items()},
            {name: array[:, :kept] for name, array in self.factors.items()},
            {name: array[:, :draws] for name, array in self.stats.items()},
        )
