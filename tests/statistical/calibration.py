"""Simulation-based calibration of `fit_bpmf`, from a table of ratings to ranks and intervals.

Parameters are drawn from the prior and ratings given them; then the truth is one more draw from the
posterior, and its rank among L independent posterior draws is uniform on 0..L (Talts, Betancourt,
Simpson, Vehtari & Gelman 2018). That holds for functions of parameters and data alike, which see
faults that parameters alone do not (Modrak et al. 2023): here the likelihood, the training error
and withheld ratings. Only the public fit and what it stores are used, so the recorder's way to the
rating scale and the start of the chain are under test too.

Ranks need draws that are nearly independent. With autocorrelation rho between neighbours among L
draws the variance of a rank is 1 + 2 rho / (L / 2 + 1) times that of a uniform one: 1.01 for
rho = 0.1 and L = 31. The standard error of that variance is 0.05 with 300 data sets and 0.03 with
1000. Every study measures rho (`Study.neighbours`).
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from bayesmf.evaluation import INTERVALS
from bayesmf.model import BPMF, GammaPrior, NormalWishart
from tests.statistical.uniformity import neighbour_correlation
from tests.statistical.worlds import Setting, Worlds, cell_means, draw_gaussian, draw_worlds

if TYPE_CHECKING:
    from types import ModuleType

KINDS = ("known", "new user", "new item", "both new")
N_NEW = 3
"""Users, and items, whose ratings are withheld altogether."""


class Case(NamedTuple):
    """A setting and how long its chains are; every `thin`-th draw is ranked.

    `memory` holds all factor draws, or half; intervals from S draws are narrow by the order of 1/S.
    """

    setting: Setting
    chains: int
    tune: int
    draws: int
    thin: int
    memory: int

    @property
    def n_ranked(self) -> int:
        """L: draws that a truth is ranked among."""
        return self.chains * -(-self.draws // self.thin)


def some_cells(n_users: int, n_items: int, n: int, seed: int) -> np.ndarray:
    """Choose n cells (n, 2) in row order, at least one in each row and column."""
    rng = np.random.default_rng(seed)
    while True:
        users, items = np.divmod(np.sort(rng.permutation(n_users * n_items)[:n]), n_items)
        if np.bincount(users, minlength=n_users).all() and np.bincount(items).all():
            return np.column_stack([users, items])


CASES = {
    "biases, K=2, learned strength": Case(
        Setting(
            BPMF(
                2, True, NormalWishart(extra_dof=4.0, interaction_share=0.4), GammaPrior(6.0, 3.0),
                center=3.5, scale=1.2,
            ),
            8, 6, some_cells(8, 6, 30, seed=1),
        ),
        chains=1, tune=80, draws=279, thin=9, memory=120_000,
    ),
    "no biases, K=2, fixed strength": Case(
        Setting(
            BPMF(
                2, False, NormalWishart(0.0, 1.0, extra_dof=3.0, row_share=0.25, strength=4.0),
                GammaPrior(3.0, 1.5), center=-1.0, scale=0.5,
            ),
            7, 9, some_cells(7, 9, 40, seed=2),
        ),
        chains=1, tune=80, draws=279, thin=9, memory=36_000,
    ),
    "biases alone, fixed noise": Case(
        Setting(
            BPMF(
                0, True, NormalWishart(0.4, 3.0, 5.0, row_share=0.1, strength=GammaPrior(4.0, 0.5)),
                alpha=2.0, center=10.0, scale=2.5,
            ),
            9, 5, some_cells(9, 5, 25, seed=3),
        ),
        chains=2, tune=40, draws=60, thin=4, memory=25_000,
    ),
}  # fmt: skip


class Study(NamedTuple):
    """What the fits to R data sets gave, in plain arrays.

    Attributes
    ----------
    n_ranked : int
        L: a rank is the number of draws, out of L, below the truth.
    ranks : dict of ndarray of int, shapes (R, members)
        For each quantity; those of one data set depend on one another, data sets do not.
    neighbours : dict of ndarray, shapes (R,)
        Autocorrelation of one member's neighbouring draws, as ranked.
    inside : dict of ndarray, shapes (R, 4)
        Share of each kind of cell inside the intervals of INTERVALS.
    pit : dict of ndarray, shapes (R, cells)
        Predictive distribution function at the withheld rating, by kind of cell.
    """

    name: str
    n_ranked: int
    ranks: dict[str, np.ndarray]
    neighbours: dict[str, np.ndarray]
    inside: dict[str, np.ndarray]
    pit: dict[str, np.ndarray]

    @property
    def data_sets(self) -> int:
        """R."""
        return len(next(iter(self.ranks.values())))

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays by "part/name", as `numpy.savez` takes them."""
        parts = ("ranks", "neighbours", "inside", "pit")
        return {f"{part}/{name}": a for part in parts for name, a in getattr(self, part).items()}


class Truth(NamedTuple):
    """R worlds on the rating scale: what is ranked, what is fitted, and cells that are not."""

    quantities: dict[str, np.ndarray]
    ratings: np.ndarray
    cells: dict[str, np.ndarray]
    withheld: dict[str, np.ndarray]


def run_study(name: str, data_sets: int, seed: int, package: str = "bayesmf") -> Study:
    """Fit so many data sets of a case with the package of that name."""
    case, api = CASES[name], importlib.import_module(package)
    rng = np.random.default_rng([seed, list(CASES).index(name)])
    truth = draw_truth(case.setting, data_sets, rng)
    arguments = fit_arguments(case, api)
    rows: list[tuple[dict[str, np.ndarray], ...]] = []
    for r in range(data_sets):
        table = frame(case.setting.cells, truth.ratings[r])
        post = api.fit_bpmf(table, **arguments, random_seed=int(rng.integers(2**31)))
        own = {key: values[r] for key, values in truth.quantities.items()}
        for side in ("user", "item"):
            own[f"{side} effect"] = own[f"{side} effect"][post.data["posterior"][f"effect_{side}"]]
        withheld = {kind: frame(truth.cells[kind], truth.withheld[kind][r]) for kind in KINDS}
        drawn = ranked_draws(case, post, truth.cells["known"], rng)
        ranks = {key: (drawn[key] < own[key]).sum(axis=(0, 1)) for key in own}
        beside = {
            key: neighbour_correlation(drawn[key][..., r % drawn[key].shape[2]]) for key in own
        }
        rows.append((ranks, beside, *predictive_checks(post, withheld)))
    parts = [
        {key: np.array([row[part][key] for row in rows]) for key in rows[0][part]}
        for part in range(4)
    ]
    return Study(name, case.n_ranked, *parts)


def frame(cells: np.ndarray, ratings: np.ndarray) -> pd.DataFrame:
    """Ratings as a user brings them."""
    return pd.DataFrame({"user": cells[:, 0], "item": cells[:, 1], "rating": ratings})


def draw_truth(setting: Setting, r: int, rng: np.random.Generator) -> Truth:
    """Draw r worlds and every quantity that will be ranked.

    All that is identified is a function of the dense table of cell means: its grand mean, the
    means of its rows and columns, and the singular values of what is left.
    """
    model, n, m = setting.model, setting.n_users, setting.n_items
    center, scale = float(model.center), float(model.scale)
    known = draw_worlds(setting, r, rng)
    sides = [
        side._replace(
            rows=np.concatenate(
                [side.rows, side.mean[:, None] + draw_gaussian(side.root, N_NEW, rng)], axis=1
            )
        )
        for side in (known.user, known.item)
    ]
    worlds = Worlds(*sides, known.alpha, known.ratings)
    every = np.argwhere(np.ones((n + N_NEW, m + N_NEW)))
    kind = (every[:, 0] >= n) + 2 * (every[:, 1] >= m)
    rest = ~(every[:, None] == setting.cells).all(axis=2).any(axis=1)
    cells = {key: every[rest & (kind == k)] for k, key in enumerate(KINDS)}
    noise_sd = scale / np.sqrt(worlds.alpha)[:, None]

    def latent(of: np.ndarray) -> np.ndarray:
        return center + scale * cell_means(worlds, of, model.biases)

    withheld = {
        key: latent(of) + noise_sd * rng.standard_normal((r, len(of))) for key, of in cells.items()
    }
    ratings = center + scale * worlds.ratings
    z = (ratings - latent(setting.cells)) / noise_sd
    table = latent(every[kind == 0]).reshape(r, n, m)
    grand = table.mean(axis=(1, 2))
    user, item = table.mean(axis=2) - grand[:, None], table.mean(axis=1) - grand[:, None]
    left = table - grand[:, None, None] - user[:, :, None] - item[:, None, :]
    values = np.linalg.svd(left, compute_uv=False)[:, : model.n_factors]
    means = worlds._replace(
        user=known.user._replace(rows=known.user.mean[:, None]),
        item=known.item._replace(rows=known.item.mean[:, None]),
    )
    quantities = {
        "observed cell": latent(setting.cells),
        "unobserved cell": latent(cells["known"]),
        "withheld rating": withheld["known"],
        "noise precision": worlds.alpha[:, None] / scale**2,
        "log likelihood": stats.norm.logpdf(z).sum(1, keepdims=True)
        - setting.cells.shape[0] * np.log(noise_sd),
        "training RMSE": np.sqrt(((z * noise_sd) ** 2).mean(axis=1, keepdims=True)),
        "intercept": grand[:, None],
        "user effect": user,
        "item effect": item,
        **{f"singular value {k + 1}": values[:, [k]] for k in range(model.n_factors)},
        "mean of a new cell": center + scale * cell_means(means, np.array([[0, 0]]), model.biases),
    }
    # Factors take the square root of the scale on each side, a bias all of it.
    unit = model.n_factors * np.log(scale) + 2 * model.biases * np.log(scale)
    for key, side in (("users", known.user), ("items", known.item)):
        quantities[f"log|Λ| of {key}"] = np.linalg.slogdet(side.precision)[1][:, None] - unit
    if not isinstance(model.alpha, GammaPrior):
        del quantities["noise precision"]
    return Truth(quantities, ratings, cells, withheld)


def fit_arguments(case: Case, api: ModuleType) -> dict[str, Any]:
    """Arguments of `fit_bpmf`, with the priors as classes of that package."""
    model = case.setting.model

    def own(prior: object) -> Any:
        return api.GammaPrior(**vars(prior)) if isinstance(prior, GammaPrior) else prior

    prior = vars(model.prior) | {"strength": own(model.prior.strength)}
    return {
        "n_factors": model.n_factors, "biases": model.biases, "alpha": own(model.alpha),
        "prior": api.NormalWishart(**prior), "center": model.center, "scale": model.scale,
        "chains": case.chains, "tune": case.tune, "draws": case.draws,
        "memory_budget": case.memory, "cores": 1, "progressbar": False,
    }  # fmt: skip


def ranked_draws(
    case: Case, post: Any, unobserved: np.ndarray, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Thinned draws (chains, draws, members) of every quantity, from what the fit has stored."""
    setting, thin = case.setting, case.thin
    groups = ("posterior", "factors", "constant_data")
    kept, factors, constant = (post.data[group] for group in groups)

    def every(name: str) -> np.ndarray:
        draws = kept[name].to_numpy()[:, ::thin]
        return draws.reshape(*draws.shape[:2], -1)

    probe = every("probe")
    where = constant["probe_user"].to_numpy() * setting.n_items + constant["probe_item"].to_numpy()
    place = {cell: at for at, cell in enumerate(where.tolist())}
    observed, withheld = (
        probe[..., [place[i * setting.n_items + j] for i, j in cells.tolist()]]
        for cells in (setting.cells, unobserved)
    )
    alpha = every("alpha")
    # As many of the factor draws, which the fit has thinned by a step of its own.
    assert factors.sizes["draw"] >= alpha.shape[1], "the memory holds too few factor draws"
    at = np.linspace(0, factors.sizes["draw"] - 1, alpha.shape[1]).round().astype(int)
    mean_user, mean_item, precision_user, precision_item = (
        factors[name].to_numpy()[:, at].astype(np.float64)
        for name in ("mu_user", "mu_item", "precision_user", "precision_item")
    )
    k = setting.model.n_factors
    new = float(constant["center"]) + (mean_user[..., :k] * mean_item[..., :k]).sum(axis=2)
    if setting.model.biases:
        new += mean_user[..., k] + mean_item[..., k]
    singular = every("singular_value") if k else np.empty((*alpha.shape[:2], 0))
    return {
        "observed cell": observed,
        "unobserved cell": withheld,
        "withheld rating": withheld + rng.standard_normal(withheld.shape) / np.sqrt(alpha),
        "noise precision": alpha,
        "log likelihood": every("total_log_likelihood"),
        "training RMSE": every("train_rmse"),
        "intercept": every("intercept"),
        **{f"singular value {a + 1}": singular[..., [a]] for a in range(k)},
        "mean of a new cell": new[..., None],
        "log|Λ| of users": np.linalg.slogdet(precision_user)[1][..., None],
        "log|Λ| of items": np.linalg.slogdet(precision_item)[1][..., None],
        "user effect": every("user_effect"),
        "item effect": every("item_effect"),
    }


def predictive_checks(
    post: Any, withheld: dict[str, pd.DataFrame]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Share of cells inside each interval, and distribution functions, by kind of cell."""
    table = pd.concat(withheld.values(), ignore_index=True)
    ends = [post.predict(table[["user", "item"]], prob=level) for level in INTERVALS]
    inside = np.column_stack([table["rating"].between(e["lower"], e["upper"]) for e in ends])
    pairs = post.ratings.pairs(table, "table", "calibration", with_rating=True)
    parts = post.over_mixtures(pairs, lambda at, mix: mix.cdf(pairs.ratings[at]), limit=10**9)
    below = np.concatenate(parts)
    edges = np.cumsum([len(part) for part in withheld.values()])[:-1]
    shares = [part.mean(axis=0) for part in np.split(inside, edges)]
    return (
        dict(zip(withheld, shares, strict=True)),
        dict(zip(withheld, np.split(below, edges), strict=True)),
    )
