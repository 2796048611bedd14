"""PMF by MAP: its mode is the least squares solution of ALS, shown at any point, not by luck."""

import numpy as np
import pytest

import bayesmf
from bayesmf.fit_map import fit_pmf
from bayesmf.pmf import Link, Spreads, check_pmf
from bayesmf.point.als import Penalty, solve, split_rows
from bayesmf.pymc_engine.density import Density
from bayesmf.pymc_engine.maximum import maximise, random_start, squared_loss
from bayesmf.pymc_engine.models import build_pmf

SPREADS = Spreads(0.8, 0.5, 0.3, 0.4)
ALIKE = Spreads(0.8, 0.4, 0.4, 0.5)


def pmf_of(ratings, spreads=SPREADS, **changes):
    given = {"n_factors": 2, "biases": True, "link": "identity", "center": True}
    given |= {"rating_range": None, "learn_means": False} | changes
    return check_pmf(ratings, "test", **given)._replace(spreads=spreads)


@pytest.fixture(scope="module")
def table(truth):
    return truth.ratings


@pytest.fixture(scope="module")
def density(table):
    return Density(build_pmf(table, pmf_of(table, ALIKE)))


def squared_error_and_penalties(ratings, model, point):
    u, v = point["user_factors"], point["item_factors"]
    b, c = point["user_bias"], point["item_bias"]
    means = model.center + (u[ratings.users] * v[ratings.items]).sum(axis=1)
    error = ratings.values - means - b[ratings.users] - c[ratings.items]
    penalty = model.spreads.penalties()
    return (
        (error**2).sum()
        + penalty["reg_user"] * (u**2).sum()
        + penalty["reg_item"] * (v**2).sum()
        + penalty["reg_bias"] * ((b**2).sum() + (c**2).sum())
    )


def test_the_negative_log_posterior_is_the_loss_of_least_squares(table):
    """At points that nothing chose, with another penalty for each part."""
    model = pmf_of(table)
    density = Density(build_pmf(table, model))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        point = density.unravel(2.0 * rng.standard_normal(density.n_parameters))
        value, _ = density(density.ravel(point))
        loss = squared_error_and_penalties(table, model, point)
        assert squared_loss(np.array([value]), table, model)[0] == pytest.approx(loss, rel=1e-10)


@pytest.mark.parametrize("link", ["identity", "logistic"])
def test_gradients_are_those_of_differences(table, link):
    model = pmf_of(table, link=link)
    density = Density(build_pmf(table, model))
    x = np.random.default_rng(1).standard_normal(density.n_parameters)
    _, gradient = density(x)
    for direction in np.random.default_rng(2).standard_normal((5, density.n_parameters)):
        step = 1e-5 * direction
        slope = (density(x + step)[0] - density(x - step)[0]) / 2
        assert slope == pytest.approx(gradient @ step, rel=1e-6)


def als_of(table, start=None, tol=0.0, max_iter=4000):
    penalties = ALIKE.penalties()
    penalty = Penalty(penalties["reg_user"], penalties["reg_bias"], weighted=False)
    return solve(
        table, n_factors=2, biases=True, penalty=penalty, center=table.mean, max_iter=max_iter,
        tol=tol, seed=1, start=start,
    )  # fmt: skip


def test_the_gradient_is_zero_where_als_ends(table, density):
    names = ("user_factors", "item_factors", "user_bias", "item_bias")
    solution = als_of(table)
    end = dict(zip(names, split_rows(solution, 2, True), strict=True))
    value, gradient = density(density.ravel(end))
    start_gradient = density(density.ravel({name: 0.5 + end[name] for name in names}))[1]
    assert np.abs(gradient).max() < 1e-6 * np.abs(start_gradient).max()
    loss = squared_loss(np.array([value]), table, pmf_of(table, ALIKE))[0]
    assert loss == pytest.approx(solution.loss[-1], rel=1e-12)


def test_neither_optimiser_gains_from_the_others_end(table, density):
    model = pmf_of(table, ALIKE)
    names = ("user_factors", "item_factors", "user_bias", "item_bias")
    solution = als_of(table)
    end = dict(zip(names, split_rows(solution, 2, True), strict=True))
    climbed = maximise(density, end, max_iter=500, tol=1e-14)
    assert 0 <= climbed.log_density - climbed.trace[0] < 1e-6

    start = random_start(table, model, np.random.default_rng(1))
    own = maximise(density, start, max_iter=5000, tol=1e-15)
    rows = tuple(
        np.column_stack([own.values[f"{side}_factors"], own.values[f"{side}_bias"]])
        for side in ("user", "item")
    )
    further = als_of(table, start=rows, max_iter=50)
    fall = (further.loss[0] - further.loss[-1]) / (2 * ALIKE.sigma**2)
    assert -1e-9 < fall < 1e-6


def test_all_factors_zero_is_a_saddle_that_the_starts_avoid(table, density):
    """There the gradient of all factors is zero: an optimiser that starts there stays."""
    bias = bayesmf.fit_bias(table, reg_bias=ALIKE.penalties()["reg_bias"], random_seed=1,
                            tol=0.0, max_iter=3000, progressbar=False)  # fmt: skip
    zero = {
        "user_factors": np.zeros((table.n_users, 2)), "item_factors": np.zeros((table.n_items, 2)),
        "user_bias": bias.user_bias, "item_bias": bias.item_bias,
    }  # fmt: skip
    value, gradient = density(density.ravel(zero))
    assert np.abs(gradient).max() < 1e-6
    start = random_start(table, pmf_of(table, ALIKE), np.random.default_rng(1))
    assert np.abs(start["user_factors"]).min() > 0
    assert maximise(density, start, max_iter=2000, tol=1e-12).log_density > value + 10


def test_fit_keeps_the_best_start_and_tells_the_penalties(table):
    pmf = fit_pmf(
        table, n_factors=2, sigma=0.8, sigma_user=0.5, sigma_item=0.25, sigma_bias=0.4,
        n_starts=3, random_seed=1, progressbar=False,
    )  # fmt: skip
    assert pmf.penalties == pytest.approx({"reg_user": 2.56, "reg_item": 10.24, "reg_bias": 4.0})
    assert pmf.log_posteriors.shape == (3,)
    assert pmf.sigma == 0.8
    assert (np.diff(pmf.loss) <= 0).all()
    point = {name: getattr(pmf, name) for name in ("user_factors", "item_factors")}
    point |= {"user_bias": pmf.user_bias, "item_bias": pmf.item_bias}
    loss = squared_error_and_penalties(table, pmf.model, point)
    assert pmf.loss[-1] == pytest.approx(loss, rel=1e-9)
    assert "MapEstimate" in pmf._repr_html_()
    assert "sigma_user=0.5" in repr(pmf)


def test_it_says_when_it_has_not_settled(table):
    with pytest.warns(UserWarning, match="L-BFGS reached max_iter=2 before"):
        pmf = fit_pmf(
            table, n_factors=2, sigma=0.8, sigma_user=0.5, sigma_item=0.5, sigma_bias=0.4,
            n_starts=1, max_iter=2, random_seed=1, progressbar=False,
        )  # fmt: skip
    assert len(pmf.loss) == 3


def test_the_same_seed_gives_the_same_bits(table):
    options = {"n_factors": 2, "sigma": 0.8, "sigma_user": 0.5, "sigma_item": 0.5}
    options |= {"sigma_bias": 0.4, "n_starts": 1, "progressbar": False}
    a, b = (fit_pmf(table, random_seed=3, **options) for _ in range(2))
    np.testing.assert_array_equal(a.user_factors, b.user_factors)
    other = fit_pmf(table, random_seed=4, **options)
    assert not np.array_equal(a.user_factors, other.user_factors)


@pytest.mark.parametrize(
    "options",
    [
        {}, {"link": "logistic"}, {"biases": False}, {"n_factors": 0},
        {"biases": False, "learn_means": True},
    ],
)  # fmt: skip
def test_chosen_spreads_predict_held_out_ratings(split, options):
    """Better than the mean rating, in the report's table, and within the range with the link."""
    train, test = split
    pmf = fit_pmf(train, **({"n_factors": 2} | options), random_seed=1, progressbar=False)
    error = pmf.predict(test)["mean"].to_numpy() - test.to_frame()["rating"].to_numpy()
    spread = (test.values - train.mean).std()
    assert np.sqrt((error**2).mean()) < 0.97 * spread
    assert bayesmf.compare({"PMF": pmf}, test).table.loc["PMF", "RMSE"] > 0
    assert len(pmf.tried) > 3
    if options.get("link") == "logistic":
        cells = [(user, item) for user in train.user_ids[:20] for item in train.item_ids[:20]]
        means = pmf.predict(cells)["mean"]
        assert means.between(*train.bounds).all()


def test_the_loss_is_squared_error_with_penalties_also_of_free_means(table):
    spreads = {"sigma": 0.8, "sigma_user": 0.5, "sigma_item": 0.6}
    pmf = fit_pmf(
        table, n_factors=2, biases=False, learn_means=True, n_starts=1, random_seed=1,
        progressbar=False, **spreads,
    )  # fmt: skip
    cells = (pmf.user_factors[table.users] * pmf.item_factors[table.items]).sum(axis=1)
    loss = ((table.values - pmf.center - cells) ** 2).sum()
    rows = {"sigma_user": pmf.user_factors, "sigma_item": pmf.item_factors}
    for (name, factors), mean in zip(rows.items(), pmf.prior_means, strict=True):
        loss += (0.8 / spreads[name]) ** 2 * ((factors - mean) ** 2).sum()
        loss += 0.8**2 / table.sd * (mean**2).sum()
    assert pmf.loss[-1] == pytest.approx(loss, rel=1e-10)


def test_an_unknown_row_has_the_priors_mean(split):
    pmf = fit_pmf(
        split[0], n_factors=2, biases=False, learn_means=True, sigma=0.8, sigma_user=0.5,
        sigma_item=0.5, random_seed=1, progressbar=False,
    )  # fmt: skip
    user, item = pmf.prior_means
    assert np.abs(user).max() > 0.01
    known = split[0].item_ids[0]
    unknown = pmf.predict([(10**6, known), (10**6, 10**6)])
    expected = pmf.center + pmf.item_factors[0] @ user, pmf.center + user @ item
    np.testing.assert_allclose(unknown["mean"], expected)


def test_links():
    link = Link("logistic", 1.0, 5.0)
    np.testing.assert_allclose(link.mean(np.array([-800.0, 0.0, 800.0])), [1.0, 3.0, 5.0])
    assert Link().mean(np.array([0.3]))[0] == 0.3


BAD = {
    "learned spread": ({"sigma_user": None}, ValueError, "grows without bound"),
    "a mix": ({"sigma": 1.0}, ValueError, "'sigma_user' .* must be a number, as sigma is"),
    "no number": ({"sigma_bias": "small"}, ValueError, "'sigma_bias' .* 'auto' or a positive"),
    "zero": ({"sigma_item": 0.0}, ValueError, "'sigma_item' .* greater than"),
    "link": ({"link": "probit"}, ValueError, "'link' .* one of 'identity', 'logistic'"),
    "range": ({"rating_range": (1, 5)}, ValueError, "'rating_range' .* None with link='identity'"),
    "narrow": ({"link": "logistic", "rating_range": (2, 3)}, ValueError, "around the ratings"),
    "rank": ({"n_factors": 41}, ValueError, "at most the number of users and of items"),
    "starts": ({"n_starts": 0}, ValueError, "'n_starts' .* positive integer"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_before_anything_is_compiled(name, table, monkeypatch):
    options, error, match = BAD[name]
    monkeypatch.setattr("pymc.Model.logp_dlogp_function", None)
    with pytest.raises(error, match=match):
        fit_pmf(table, random_seed=1, progressbar=False, **options)
