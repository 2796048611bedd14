"""Predictive distributions and scores against integrals, logarithms and the stored draws."""

import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

import bayesmf
from bayesmf.evaluation import INTERVALS
from bayesmf.kernels.mixtures import _expansion, _step
from bayesmf.predictive import FactorDraws, Mixture
from tests.statistical.rates import assert_plausible

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)
STEPS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 5, 6, 8, 12, 20, 38])


def ordinary():
    rng = np.random.default_rng(0)
    return rng.normal(0, 2, (6, 25)), rng.gamma(2, 0.5, (6, 25)) + 0.05


def mixtures():
    """Means and sds by name: ordinary ones, and every way to be far from them."""
    means, sds = ordinary()
    rng = np.random.default_rng(1)
    return {
        "own sds": (means, sds),
        "shared sds": (means, sds[:1]),
        "one component": (means[:, :1], sds[:, :1]),
        "one shared sd": (means[:, :1], sds[:1, :1]),
        "equal components": (np.repeat(means[:, :1], 9, axis=1), np.repeat(sds[:, :1], 9, axis=1)),
        "tiny sds": (means, 1e-6 * sds),
        "huge sds": (means, 1e6 * sds),
        "sds of all sizes": (means, 10.0 ** rng.uniform(-6, 3, (6, 25))),
        "two modes far apart": (100 * np.sign(means), 0.01 * sds),
        "far from zero": (means + 1e6, sds),
    }


MIXTURES = mixtures()


@pytest.fixture(params=MIXTURES)
def mixture(request):
    return Mixture(*MIXTURES[request.param])


def components(mixture, cell):
    """Means and sds (n_draws,) of one cell."""
    return mixture.means[cell], np.broadcast_to(mixture.sds, mixture.means.shape)[cell]


def cdf(mixture, cell, x):
    """Distribution function at points of any shape, as a mean of Gaussians'."""
    means, sds = components(mixture, cell)
    return special.ndtr((np.asarray(x)[..., None] - means) / sds).mean(axis=-1)


def values(mixture):
    """For each cell where it is likely, in a gap, and far outside on either side."""
    means, sds = (np.broadcast_to(part, mixture.means.shape) for part in mixture)
    wide = means.std(axis=1) + sds.max(axis=1)
    return (
        means[:, 0] + 0.7 * sds[:, 0],
        means.mean(axis=1),
        means.max(axis=1) + 20 * wide,
        means.min(axis=1) - 5 * wide,
    )


def integral(function, points):
    """Gauss-Legendre between neighbouring points."""
    points = np.unique(points)
    half, middle = np.diff(points)[:, None] / 2, (points[1:] + points[:-1])[:, None] / 2
    return float((half * WEIGHTS * function(middle + half * NODES)).sum())


def test_distribution_function(mixture):
    """To rounding, in far tails relative to itself too."""
    for y in values(mixture):
        expected = [cdf(mixture, cell, y[cell]) for cell in range(len(y))]
        np.testing.assert_allclose(mixture.cdf(y), expected, rtol=1e-11, atol=1e-300)


def test_quantiles_invert_the_distribution_function(mixture):
    probs = np.array([1e-6, 0.025, 0.1, 0.5, 0.9, 0.975, 1 - 1e-6])
    found = mixture.quantiles(probs)
    for cell in range(len(found)):
        means, sds = components(mixture, cell)
        spread = np.hypot(means.std(), sds.max())
        below, above = (cdf(mixture, cell, found[cell] + s * 1e-9 * spread) for s in (-1, 1))
        assert (below <= probs + 1e-9).all()
        assert (probs - 1e-9 <= above).all()
    assert (np.diff(found, axis=1) >= 0).all()


def test_log_score(mixture):
    for y in values(mixture):
        expected = []
        for cell in range(len(y)):
            means, sds = components(mixture, cell)
            logs = stats.norm.logpdf(y[cell], means, sds)
            expected.append(special.logsumexp(logs) - np.log(len(means)))
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(mixture.log_density(y), expected, rtol=1e-12, atol=1e-12)


def test_crps_is_the_integral(mixture):
    """Of (F(x) - [y <= x])^2 over x: Gneiting & Raftery (2007), eq. 20."""
    for y in values(mixture):
        found = mixture.crps(y)
        for cell in range(len(y)):
            means, sds = components(mixture, cell)
            points = (means + np.multiply.outer(np.append(-STEPS, STEPS), sds)).ravel()
            below, above = (
                np.concatenate([points[side(points, y[cell])], [y[cell]]])
                for side in (np.less, np.greater)
            )
            expected = integral(lambda x, c=cell: cdf(mixture, c, x) ** 2, below) + integral(
                lambda x, c=cell: cdf(Mixture(-mixture.means, mixture.sds), c, -x) ** 2, above
            )
            # Relative to the terms whose difference it is, when these are large.
            size = np.abs(y[cell] - means).mean() + sds.mean()
            assert found[cell] == pytest.approx(expected, abs=1e-8 * min(1, size) + 1e-13 * size)


def test_mean_and_sd(mixture):
    for cell, (mean, sd) in enumerate(zip(mixture.mean(), mixture.sd(), strict=True)):
        means, sds = components(mixture, cell)
        assert mean == pytest.approx(means.mean(), rel=1e-12, abs=1e-12)
        second = integral(
            lambda x, m=means, s=sds, c=mean: (
                (x[..., None] - c) ** 2 * stats.norm.pdf(x[..., None], m, s)
            ).mean(axis=-1),
            (means + np.multiply.outer(np.append(-STEPS[:-1], STEPS[:-1]), sds)).ravel(),
        )
        assert sd == pytest.approx(np.sqrt(second), rel=1e-9)


def test_point_masses_have_quantiles_of_a_sample():
    means, sds = ordinary()
    probs = np.array([0.1, 0.6])
    expected = np.quantile(means, probs, axis=1).T
    shared = Mixture(means, np.zeros((1, means.shape[1])))
    np.testing.assert_allclose(shared.quantiles(probs), expected, rtol=1e-15)
    # Cells that are point masses beside cells that are not.
    mixed = Mixture(means, np.vstack([sds[:3], np.zeros_like(sds[:3])])).quantiles(probs)
    np.testing.assert_allclose(mixed[3:], expected[3:], rtol=1e-15)
    np.testing.assert_array_equal(mixed[:3], Mixture(means, sds).quantiles(probs)[:3])


def test_expansion_of_the_distribution_function():
    """Vector code in the place of SciPy's: the function to 1e-14, four derivatives to 1e-13."""
    z = np.concatenate([np.linspace(-12, 12, 4801), [-1e8, -500.0, 30.0, 1e6]])
    mean, sd = np.array([0.7]), 1.3
    found = np.array([_expansion(mean, np.array([1 / sd]), x) for x in mean + sd * z])
    density = stats.norm.pdf(z)
    hermite = [np.ones_like(z), -z, z**2 - 1, -(z**3 - 3 * z)]
    expected = [special.ndtr(z)]
    expected += [h * density / sd ** (k + 1) for k, h in enumerate(hermite)]
    np.testing.assert_allclose(found[:, 0], expected[0], rtol=0, atol=1e-14)
    np.testing.assert_allclose(found[:, 1:], np.array(expected[1:]).T, rtol=0, atol=1e-13)
    # Not only absolutely, where intervals have their ends.
    inner = (z < 0) & (z > -5)
    np.testing.assert_allclose(found[inner, 0], expected[0][inner], rtol=1e-9)


def test_a_step_is_wrong_by_no_more_than_it_says():
    """Steps that claim 1e-11 are taken unseen: that must hold, and be claimed by near starts."""
    rng = np.random.default_rng(3)
    claims = []
    for _ in range(3000):
        n = rng.integers(1, 30)
        means, sds = rng.normal(0, rng.uniform(0, 2), n), rng.uniform(0.5, 2, n)
        root, distance = rng.normal(0, 2), 10 ** rng.uniform(-4, 0.5) * rng.choice([-1, 1])
        prob = special.ndtr((root - means) / sds).mean()
        x = root + distance * sds.min()
        cdf, *derivatives = _expansion(means, 1 / sds, x)
        move, wrong = _step(cdf - prob, *derivatives, 1 / sds.min())
        if np.isfinite(wrong):
            left = abs(special.ndtr((x + move - means) / sds).mean() - prob)
            assert left <= wrong + 1e-14
        claims.append((abs(distance), wrong < 1e-11))
    near, taken = np.array(claims).T
    assert taken[near < 0.01].mean() > 0.95
    assert not taken[near > 0.5].any()


@pytest.mark.parametrize("name", ["cdf", "log_density", "crps", "sd", "mean", "quantiles"])
def test_shared_sds_are_own_sds_that_agree(name):
    means, sds = ordinary()
    shared, own = Mixture(means, sds[:1]), Mixture(means, np.repeat(sds[:1], 6, axis=0))
    given = {"sd": (), "mean": (), "quantiles": (np.array([0.2, 0.99]),)}
    given = given.get(name, (np.linspace(-3, 3, 6),))
    found, expected = (getattr(one, name)(*given) for one in (shared, own))
    np.testing.assert_allclose(found, expected, rtol=1e-13)


class Stored:
    """The stored draws of a posterior, flattened, and the mixture of any cell by hand."""

    def __init__(self, posterior):
        factors = posterior.data["factors"].to_dataset()
        self.flat = {
            name: array.reshape(-1, *array.shape[2:]).astype(np.float64)
            for name, array in ((name, factors[name].to_numpy()) for name in factors)
        }
        self.center = float(posterior.data["constant_data"]["center"])
        self.noise = 1 / self.flat["alpha"]

    def row(self, side, code):
        """One row's coordinates (n_draws, D), the bias last."""
        factors, bias = self.flat[f"{side}_factors"], self.flat[f"{side}_bias"]
        return np.column_stack([factors[:, code], bias[:, code]])

    def regressor(self, side, code):
        """What the other side's row is multiplied with, and what is added."""
        row = self.row(side, code)
        return np.column_stack([row[:, :-1], np.ones(len(row))]), row[:, -1]

    def cell(self, user, item):
        """Means and variances (n_draws,) of a rating, one of the codes -1 where it is unknown."""
        if min(user, item) >= 0:
            x, offset = self.regressor("user", user)
            return self.center + offset + (x * self.row("item", item)).sum(1), self.noise
        known, code, other = ("item", item, "user") if user < 0 else ("user", user, "item")
        x, offset = self.regressor(known, code)
        mean = self.center + offset + (x * self.flat[f"mu_{other}"]).sum(axis=1)
        solved = np.linalg.solve(self.flat[f"precision_{other}"], x[:, :, None])[:, :, 0]
        return mean, self.noise + (x * solved).sum(axis=1)


@pytest.fixture(scope="module")
def stored(posterior):
    return Stored(posterior)


def test_compare_scores_the_stored_draws(posterior, stored, split):
    """Every score of `compare` from the draws by hand, for known cells and new users and items."""
    test = split[1].to_frame().head(40)
    test = pd.concat(
        [test, test.assign(user=10_000).head(20), test.assign(item=10_000).tail(20)],
        ignore_index=True,
    ).drop_duplicates(["user", "item"])
    n_draws = len(stored.noise)
    row = bayesmf.compare({"BPMF": posterior}, test, draws=n_draws).table.loc["BPMF"]
    users, items = posterior.ratings.user_ids, posterior.ratings.item_ids
    codes = zip(users.get_indexer(test["user"]), items.get_indexer(test["item"]), strict=True)
    means, variances = (np.array(part) for part in zip(*[stored.cell(*c) for c in codes]))  # noqa: B905
    sds, y = np.sqrt(variances), test["rating"].to_numpy(np.float64)
    logs = special.logsumexp(stats.norm.logpdf(y[:, None], means, sds), axis=1) - np.log(n_draws)
    assert row["log_score"] == pytest.approx(logs.mean(), rel=1e-9)
    by_hand = Mixture(means, sds)
    below = np.array([cdf(by_hand, cell, y[cell]) for cell in range(len(y))])
    for level in INTERVALS:
        inside = np.abs(2 * below - 1) <= level
        assert row[f"coverage_{100 * level:.0f}"] == pytest.approx(inside.mean(), abs=1e-12)
    crps = []
    for cell in range(0, len(y), 8):
        m, s = means[cell], sds[cell]
        points = np.linspace(m.min() - 12 * s.max(), m.max() + 12 * s.max(), 120)
        lower, upper = points[points < y[cell]], points[points > y[cell]]
        crps.append(
            integral(lambda x, c=cell: cdf(by_hand, c, x) ** 2, np.append(lower, y[cell]))
            + integral(lambda x, c=cell: (1 - cdf(by_hand, c, x)) ** 2, np.append(upper, y[cell]))
        )
    some = bayesmf.compare({"BPMF": posterior}, test.iloc[::8], draws=n_draws).table
    assert some.loc["BPMF", "CRPS"] == pytest.approx(np.mean(crps), abs=1e-8)
    errors = means.mean(axis=1) - y
    assert row["RMSE"] == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-9)
    assert row["MAE"] == pytest.approx(np.abs(errors).mean(), rel=1e-9)


@pytest.mark.parametrize(("user", "item"), [(-1, 2), (4, -1)], ids=["new user", "new item"])
def test_unknown_rows_are_integrated(posterior, stored, user, item):
    """Mean, variance and distribution function of a cell in a draw, by Gauss-Hermite quadrature
    over all coordinates of the row that was never seen."""
    draws = FactorDraws(posterior.data, seed=1)
    found = draws.mixture(np.array([user]), np.array([item]), noise=True)
    nodes, weights = np.polynomial.hermite_e.hermegauss(24)
    z = np.stack(np.meshgrid(nodes, nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 3)
    share = np.multiply.outer(np.multiply.outer(weights, weights), weights).ravel()
    share /= share.sum()
    side, known, code = ("user", "item", item) if user < 0 else ("item", "user", user)
    for s in range(0, draws.n_draws, 37):
        # Rows with that precision: L L' = Lambda, row = mu + L^-T z.
        root = np.linalg.cholesky(stored.flat[f"precision_{side}"][s])
        rows = stored.flat[f"mu_{side}"][s] + np.linalg.solve(root.T, z.T).T
        partner = stored.row(known, code)[s]
        latent = stored.center + rows[:, :2] @ partner[:2] + rows[:, 2] + partner[2]
        mean = share @ latent
        variance = share @ (latent - mean) ** 2 + stored.noise[s]
        assert found.means[0, s] == pytest.approx(mean, rel=1e-9)
        assert found.sds[0, s] ** 2 == pytest.approx(variance, rel=1e-9)
        at = mean + 0.8 * np.sqrt(variance)
        noise_sd = np.sqrt(stored.noise[s])
        below = share @ special.ndtr((at - latent) / noise_sd)
        one = Mixture(found.means[:, [s]], found.sds[:, [s]]).cdf(np.array([at]))[0]
        assert one == pytest.approx(below, abs=1e-9)


def test_where_both_are_unknown_the_user_is_drawn_and_the_item_integrated(posterior, stored):
    """Given the user's row the cell is in closed form, and the rows drawn are from their law."""
    draws = FactorDraws(posterior.data, seed=1)
    found = draws.mixture(np.array([-1]), np.array([-1]), noise=True)
    rows = draws._unknown_users
    x = np.column_stack([rows[:, :2], np.ones(len(rows))])
    mean = stored.center + rows[:, 2] + (x * stored.flat["mu_item"]).sum(axis=1)
    covariance = np.linalg.inv(stored.flat["precision_item"])
    variance = np.einsum("sa,sab,sb->s", x, covariance, x) + stored.noise
    np.testing.assert_allclose(found.means[0], mean, rtol=1e-9)
    np.testing.assert_allclose(found.sds[0] ** 2, variance, rtol=1e-9)
    shift, precision = rows - stored.flat["mu_user"], stored.flat["precision_user"]
    z = np.einsum("sba,sb->sa", np.linalg.cholesky(precision), shift)
    p_values = {f"coordinate {a}": stats.kstest(z[:, a], "norm").pvalue for a in range(3)}
    p_values |= {f"{a}, {b}": stats.pearsonr(z[:, a], z[:, b]).pvalue for a in (0, 1) for b in (2,)}
    p_values["neighbours"] = stats.pearsonr(z[1:].ravel(), z[:-1].ravel()).pvalue
    assert_plausible(p_values)
