"""The law of rows folded in, and of the evidence by which their weights are known.

Each test compares thousands of draws with a distribution that is known; `rates.py` has the rate at
which a correct fold-in may fail one.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmf
from bayesmf.diagnostics.fold_weights import log_weights
from bayesmf.folding.planning import plan
from bayesmf.gibbs.conditionals import Hyper, row_conditional
from bayesmf.gibbs.engines import ENGINES, RowTask
from bayesmf.kernels.blocks import Data
from bayesmf.kernels.dense import whole
from bayesmf.kernels.evidence import row_evidence
from bayesmf.kernels.streams import Purpose, Streams
from bayesmf.model import WorkingScale
from tests.statistical.rates import adjusted, assert_plausible

N_DRAWS = 3000
NEW = pd.DataFrame(
    {
        "user": [900] * 3 + [901] + [5] * 2,
        "item": [3, 7, 12, 3, 39, 2],
        "rating": [5.0, 4, 3, 1, 2, 6],
    }
)
QUICK = {"tune": 30, "draws": 4, "chains": 1, "random_seed": 3, "progressbar": False}
MODELS = {
    "biases": {"n_factors": 3},
    "no biases": {"n_factors": 3, "biases": False},
    "biases only": {"n_factors": 0},
    "2008": bayesmf.published_2008(n_factors=3),
    "float64": {"n_factors": 3, "dtype": "float64"},
    "vector": {"n_factors": 18, "dtype": "float32"},
    "as many as ratings": {"n_factors": 45},
}


def frozen(model, n_draws=N_DRAWS):
    """A posterior whose every draw is the same, so that draws of a row have one known law."""
    ratings = bayesmf.simulate(60, 40, 900, n_factors=2, random_seed=11).ratings
    fitted = bayesmf.fit_bpmf(ratings, **(QUICK | MODELS[model]))
    data = fitted.data.copy()
    group = data["factors"].to_dataset().isel(draw=[3] * n_draws)
    data["factors"] = group.assign_coords(draw=np.arange(n_draws))
    return bayesmf.Posterior(data, fitted.ratings, fitted.model)


def stacked(group, side, has_bias):
    """Rows (n_draws, n_rows, D) of a side, biases last."""
    rows = group[f"{side}_factors"].to_numpy()[0]
    if has_bias:
        rows = np.dstack([rows, group[f"{side}_bias"].to_numpy()[0]])
    return rows.astype(float)


def given_first_draw(posterior, side):
    """Partners (n, D), noise precision, mean and precision of a side, on the rating scale."""
    group = posterior.data["factors"].to_dataset().isel(draw=slice(0, 1))
    other = "item" if side == "user" else "user"
    partners = stacked(group, other, posterior.model.biases)[0]
    alpha, mean, precision = (
        group[name].to_numpy()[0, 0] for name in ("alpha", f"mu_{side}", f"precision_{side}")
    )
    return partners, alpha, mean, precision


def row_laws(posterior, folded, side, alpha_times=1.0):
    """Conditionals of the folded rows, mean and precision, from their ratings by hand."""
    partners, alpha, mean, precision = given_first_draw(posterior, side)
    other = "item" if side == "user" else "user"
    center = float(posterior.data["constant_data"]["center"])
    table = folded.ratings.to_frame()
    codes = getattr(posterior.ratings, f"{other}_ids")
    for one in getattr(folded.ratings, f"{side}_ids"):
        own = table[table[side] == one]
        x = partners[codes.get_indexer(own[other])]
        y = own["rating"].to_numpy() - center
        has_bias = posterior.model.biases
        yield one, row_conditional(x, y, has_bias, alpha_times * alpha, mean, precision)


def p_values(posterior, folded, side, alpha_times=1.0):
    """Of each row: its mean, its variances and correlations, and the shape of each coordinate."""
    found = {}
    rows = stacked(folded.data["factors"], side, posterior.model.biases)
    laws = row_laws(posterior, folded, side, alpha_times)
    for at, (one, (mean, precision)) in enumerate(laws):
        # Standard normal in every coordinate, if the law is right.
        z = (rows[:, at] - mean) @ np.linalg.cholesky(precision)
        n, d = z.shape
        found[f"{one}: mean"] = stats.chi2.sf(n * np.square(z.mean(axis=0)).sum(), d)
        squares = np.square(z).sum()
        found[f"{one}: size"] = 2 * min(
            stats.chi2.cdf(squares, n * d), stats.chi2.sf(squares, n * d)
        )
        if d > 1:
            products = (z.T @ z)[np.triu_indices(d, 1)] / np.sqrt(n)
            found[f"{one}: products"] = stats.chi2.sf(np.square(products).sum(), len(products))
        found[f"{one}: shape"] = stats.kstest(z.ravel(), "norm").pvalue
        after = (z[1:] * z[:-1]).sum() / np.sqrt((n - 1) * d)
        found[f"{one}: one draw after the other"] = 2 * stats.norm.sf(abs(after))
    return found


@pytest.mark.parametrize("side", ["user", "item"])
@pytest.mark.parametrize("model", MODELS)
def test_rows_are_drawn_from_their_conditional(model, side):
    """Mean, covariance and shape of new rows and known ones, by the textbook's formula."""
    posterior = frozen(model, N_DRAWS if model != "as many as ratings" else 500)
    new = NEW if side == "user" else NEW.rename(columns={"user": "item", "item": "user"})
    folded = posterior.fold_in(new, side=side, random_seed=7)
    assert_plausible(p_values(posterior, folded, side))
    # A noise precision a fifth too large would be seen.
    worst, p = adjusted(p_values(posterior, folded, side, 1.2))
    assert p < 1e-5, f"{worst}: {p}"


def test_a_known_row_without_news_is_drawn_as_gibbs_draws_it():
    """Against draws of the sampler's own row update, on its working scale, from all ratings."""
    posterior = frozen("biases")
    table = posterior.ratings
    again = table.to_frame().groupby("user").head(1)  # a rating that each user has given already
    folded = posterior.fold_in(again, random_seed=9)
    assert folded.ratings.fingerprint == table.fingerprint
    scale = WorkingScale(*(float(posterior.data.attrs[name]) for name in ("center", "scale")))
    units = scale.units(3, True)
    partners, alpha, mean, precision = given_first_draw(posterior, "user")
    data = Data.build(table, scale, 3, True, "float32")
    task = RowTask(
        data.users, (partners / units).astype(np.float32), True, alpha * scale.scale**2,
        Hyper(mean / units, precision * np.outer(units, units), np.ones(4)),
    )  # fmt: skip
    streams = Streams.of_chain(9, 0)
    gibbs = np.array(
        [
            ENGINES["numba"].draw_rows(task, streams, sweep, Purpose.USER_ROWS) * units
            for sweep in range(N_DRAWS)
        ]
    )
    ours = stacked(folded.data["factors"], "user", True)
    found = {
        f"user {i}, coordinate {a}": stats.ks_2samp(ours[:, i, a], gibbs[:, i, a]).pvalue
        for i in range(0, 60, 3)
        for a in range(4)
    }
    assert_plausible(found)
    shifted = stats.ks_2samp(ours[:, 0, 3], gibbs[:, 0, 3] + 0.5 * gibbs[:, 0, 3].std()).pvalue
    assert shifted < 1e-5


@pytest.mark.parametrize("d", [1, 3, 8, 33])
def test_evidence_is_the_density_of_a_multivariate_normal(d):
    """By SciPy, from an n x n covariance; few ratings and many, more than a tile, and none."""
    rng = np.random.default_rng(d)
    counts = np.array([0, 1, 2, max(1, d - 1), d, d + 1, 0, 130, 300])
    indptr = np.concatenate([[0], np.cumsum(counts)])
    x = rng.standard_normal((50, d))
    x[:, -1] = 1.0
    offsets, mean, alpha = rng.standard_normal(50), rng.standard_normal(d), 1.7
    a = rng.standard_normal((d, 2 * d))
    precision = a @ a.T / d + 0.3 * np.eye(d)
    partners = rng.integers(0, 50, indptr[-1]).astype(np.int32)
    values = 3 * rng.standard_normal(indptr[-1])
    inverse_root = np.linalg.inv(np.linalg.cholesky(precision))
    whitened = np.zeros((50, whole(d, 8)))
    whitened[:, :d] = np.sqrt(alpha) * x @ inverse_root.T
    expected = offsets + x @ mean
    out = np.empty(len(counts))
    row_evidence(
        0, len(counts), indptr, partners, values, whitened, expected, np.sqrt(alpha), d, out
    )
    for row, n in enumerate(counts):
        own = slice(indptr[row], indptr[row + 1])
        mine = x[partners[own]]
        density = 0.0
        if n:
            density = stats.multivariate_normal.logpdf(
                values[own], expected[partners[own]],
                mine @ np.linalg.inv(precision) @ mine.T + np.eye(n) / alpha,
            )  # fmt: skip
        assert out[row] == pytest.approx(density, rel=1e-10, abs=1e-10)
    # A part of the rows is written, and no other.
    part = np.full(len(counts), -1.0)
    row_evidence(3, 8, indptr, partners, values, whitened, expected, np.sqrt(alpha), d, part)
    np.testing.assert_array_equal(part[3:8], out[3:8])
    assert (part[:3] == -1).all()
    assert part[8] == -1


@pytest.mark.parametrize("side", ["user", "item"])
def test_weights_are_evidence_of_all_ratings_over_that_of_the_old(posterior, side):
    new = NEW if side == "user" else NEW.rename(columns={"user": "item", "item": "user"})
    folded = posterior.fold_in(new, side=side, draws=6, random_seed=1)
    found = log_weights(folded.data, folded.ratings, folded.before, side, 1)
    group = folded.data["factors"].to_dataset()
    other = "item" if side == "user" else "user"
    known = getattr(posterior.ratings, f"{other}_ids")
    theirs = posterior.ratings.to_frame()
    for s, (chain, draw) in enumerate(np.ndindex(2, 3)):
        at = group.isel(chain=[chain], draw=[draw])
        partners = stacked(at, other, True)[0]
        alpha, mean, precision = (
            at[name].to_numpy()[0, 0] for name in ("alpha", f"mu_{side}", f"precision_{side}")
        )

        def evidence(table, partners=partners, alpha=alpha, mean=mean, precision=precision):
            x = partners[known.get_indexer(table[other])]
            offset, x = x[:, -1].copy(), np.column_stack([x[:, :-1], np.ones(len(x))])
            center = float(posterior.data["constant_data"]["center"])
            covariance = x @ np.linalg.inv(precision) @ x.T + np.eye(len(x)) / alpha
            y = table["rating"]
            return stats.multivariate_normal.logpdf(y, center + offset + x @ mean, covariance)

        for row, one in enumerate(getattr(folded.ratings, f"{side}_ids")):
            table = folded.ratings.to_frame()
            expected = evidence(table[table[side] == one])
            old = theirs[theirs[side] == one]
            if len(old):
                expected -= evidence(old)
            assert found[s, row] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_khat_is_small_for_few_ratings_and_large_for_a_row_that_would_change_the_fit(posterior):
    items = posterior.ratings.item_ids.to_numpy()
    few = pd.DataFrame({"user": 900 + np.arange(20), "item": items[:20], "rating": 3.0})
    found = posterior.fold_in(few, draws=200, random_seed=1).fold_weights
    assert found.columns.tolist() == ["n_ratings", "pareto_k", "ess", "refit"]
    assert not found["refit"].any()
    assert (found["ess"] > 100).all()
    assert (found["n_ratings"] == 1).all()
    # One that rates every item, up and down, as no two factors of the draws allow.
    ups = np.where(np.arange(len(items)) % 2, 9.0, -3.0)
    wild = pd.DataFrame({"user": 950, "item": items, "rating": ups})
    both = posterior.fold_in(pd.concat([few, wild]), draws=200, random_seed=1)
    with pytest.warns(UserWarning, match="1 of 21 rows that were folded in, such as user 950"):
        weights = both.fold_weights
    assert weights["refit"].tolist() == [False] * 20 + [True]
    assert weights.loc[950, "pareto_k"] > 0.7
    assert weights.loc[950, "ess"] < 20
    pd.testing.assert_frame_equal(weights[:20], found, check_exact=True)  # row by row
    # A known user who says again what was said asks for no weights at all.
    said = posterior.ratings.to_frame().groupby("user").head(1)
    same = posterior.fold_in(said, draws=200, random_seed=1)
    assert np.abs(np.ptp(log_weights(same.data, same.ratings, same.before, "user", 1))) < 1e-6


def test_a_row_folded_in_is_near_that_of_a_refit():
    """A small table, in which one user's 18 ratings matter to all items.

    How far the expected ratings of that user are from those of a fit that has seen them, in its sds
    (root mean square over items): 0.205 with an sd of 0.016 over twelve pairs of seeds, so that 0.3
    is beyond 10^-5; of a user without ratings 1.25. Weighted draws are nearer, as runs show that
    are long enough to tell (benchmarks/fold_in.py).
    """
    ratings = bayesmf.simulate(30, 20, 240, n_factors=1, random_seed=21).ratings
    table = ratings.to_frame()
    own = table["user"] == table["user"].value_counts().index[2]
    one = table["user"][own].iloc[0]
    quick = {"n_factors": 1, "tune": 100, "draws": 400, "chains": 2, "progressbar": False}
    rest = bayesmf.fit_bpmf(table[~own], random_seed=1, **quick)
    refit = bayesmf.fit_bpmf(table, random_seed=2, **quick)
    folded = rest.fold_in(table[own], random_seed=3)
    cells = [(one, item) for item in ratings.item_ids]
    mine, theirs, before = (
        post.predict(cells, kind="latent", prob=None) for post in (folded, refit, rest)
    )
    apart, without = (
        np.sqrt(np.mean(np.square((some["mean"] - theirs["mean"]) / theirs["sd"])))
        for some in (mine, before)
    )
    assert apart < 0.3
    assert without > 1.0
    np.testing.assert_allclose(mine["sd"], theirs["sd"], rtol=0.4)


def test_plan_keeps_every_old_rating_of_known_rows(posterior):
    found = plan(NEW, posterior.ratings, None)
    table = posterior.ratings.to_frame()
    own = table[table["user"] == 5]
    assert np.diff(found.before.side.indptr).tolist() == [len(own), 0, 0]
    np.testing.assert_array_equal(found.before.values, own["rating"])
    np.testing.assert_array_equal(
        found.before.side.partners, posterior.ratings.item_ids.get_indexer(own["item"])
    )
