"""The PyMC models are the models: their densities are those that SciPy adds up."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pymc as pm
import pytensor
import pytest
from pytensor.compile.mode import Mode, get_mode
from pytensor.gradient import NullTypeGradError
from pytensor.graph.basic import Constant
from scipy import stats

import bayesmf
from bayesmf import GammaPrior, NormalWishart
from bayesmf.model import BPMF
from bayesmf.pymc_engine.density import Density
from bayesmf.pymc_engine.draws import count_parameters, hyper_of
from bayesmf.pymc_engine.models import build_bpmf

SIDES = ("user", "item")
TABLE = bayesmf.simulate(9, 7, 40, n_factors=2, random_seed=4).ratings


def a_point(model, seed=1):
    """Draw values of all free variables in the space that they are written in."""
    rng = np.random.default_rng(seed)
    point = {}
    for variable in model.free_RVs:
        shape = tuple(variable.shape.eval())
        positive = model.rvs_to_transforms[variable] is not None
        point[variable.name] = (
            rng.gamma(5.0, 0.2, shape) if positive else 0.5 * rng.standard_normal(shape)
        )
    return point


def log_density(model, point):
    """Log density of the model's variables at a point, without that of any transformation."""
    values = {}
    for variable in model.free_RVs:
        value, transform = model.rvs_to_values[variable], model.rvs_to_transforms[variable]
        given = point[variable.name]
        values[value.name] = given if transform is None else np.log(given)
    # Without compiling: these are called once.
    return float(model.compile_logp(jacobian=False, mode="FAST_COMPILE")(values))


def root_of(point, side, d, strength):
    bartlett = np.zeros((d, d))
    if d > 1:
        bartlett[np.tril_indices(d, -1)] = point[f"bartlett_below_{side}"]
    bartlett[np.diag_indices(d)] = np.sqrt(point[f"bartlett_squares_{side}"])
    return bartlett / np.sqrt(strength)[:, None]


def expected_log_density(model, point):
    """Priors of `bayesmf.model` and the likelihood, written with SciPy alone."""
    scale, k, d = model.working_scale(TABLE), model.n_factors, model.n_coordinates
    total, rows = 0.0, {}
    for side, n in (("user", TABLE.n_users), ("item", TABLE.n_items)):
        prior = model.prior.resolve(n, k, model.biases)
        strength = point.get(f"strength_{side}", prior.strength)
        if prior.learned:
            total += stats.gamma.logpdf(strength, prior.shape, scale=1 / prior.rate).sum()
        squares = point[f"bartlett_squares_{side}"]
        total += stats.chi2.logpdf(squares, prior.dof - np.arange(d)).sum()
        total += stats.norm.logpdf(point.get(f"bartlett_below_{side}", np.empty(0))).sum()
        root = root_of(point, side, d, strength)
        covariance = np.linalg.inv(root @ root.T)
        mean, rows[side] = point[f"mu_{side}"], point[f"{side}_rows"]
        normal = stats.multivariate_normal
        total += normal.logpdf(mean, prior.mu0, covariance / prior.beta0)
        total += np.sum([normal.logpdf(row, mean, covariance) for row in rows[side]])
    alpha = point.get("alpha", model.alpha)
    if isinstance(model.alpha, GammaPrior):
        total += stats.gamma.logpdf(alpha, model.alpha.shape, scale=1 / model.alpha.rate)
    u, v = rows["user"][TABLE.users], rows["item"][TABLE.items]
    cells = (u[:, :k] * v[:, :k]).sum(axis=1)
    if model.biases:
        cells += u[:, k] + v[:, k]
    sd = scale.scale / np.sqrt(alpha)
    return total + stats.norm.logpdf(TABLE.values, scale.center + scale.scale * cells, sd).sum()


MODELS = {
    "default": {},
    "no biases": {"biases": False},
    "one factor": {"n_factors": 1},
    "rank 0": {"n_factors": 0},
    "published": bayesmf.published_2008(n_factors=3),
    "other priors": {
        "prior": NormalWishart(mu0=0.3, beta0=1.5, strength=GammaPrior(2.0, 3.0)),
        "alpha": GammaPrior(3.0, 2.0), "center": 2.0, "scale": 0.7,
    },
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_bpmf_has_exactly_the_priors_of_the_sampler(name):
    """And so has the form that engines fit, of operations of our own."""
    options = {"n_factors": 2, "biases": True} | MODELS[name]
    built = bayesmf.bpmf_model(TABLE, **options)
    point = a_point(built)
    checked = {"prior": None, "alpha": None, "center": "mean", "scale": "sd"} | options
    model = BPMF.checked("test", **checked)
    expected = pytest.approx(expected_log_density(model, point), rel=1e-12)
    assert log_density(built, point) == expected
    assert log_density(build_bpmf(TABLE, model, fused=True), point) == expected


@pytest.mark.parametrize("name", ["default", "rank 0", "published", "other priors"])
def test_the_fused_gradient_is_pytensors(name):
    """At three points, to rounding: what PyTensor derives of the model against what we wrote."""
    options = {"n_factors": 2, "biases": True} | MODELS[name]
    checked = {"prior": None, "alpha": None, "center": "mean", "scale": "sd"} | options
    model = BPMF.checked("test", **checked)
    built, density = build_bpmf(TABLE, model), Density(build_bpmf(TABLE, model, fused=True))
    by_pytensor = built.compile_fn(
        [built.logp(), built.dlogp()], inputs=built.continuous_value_vars, mode="FAST_COMPILE",
    )  # fmt: skip
    assert density.n_parameters == count_parameters(model, TABLE.n_users, TABLE.n_items)
    rng = np.random.default_rng(1)
    for _ in range(3):
        x = 0.5 * rng.standard_normal(density.n_parameters)
        value, slope = by_pytensor(density.unravel(x))
        found, gradient = density(x)
        assert found == pytest.approx(float(value), rel=1e-12)
        np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10)


def test_the_fused_sums_have_no_second_derivatives():
    built = build_bpmf(TABLE, BPMF(1), fused=True)
    with pytest.raises(NullTypeGradError, match="no second derivatives: build the model without"):
        built.d2logp()


def test_a_model_of_an_engine_stays_out_of_the_users():
    with pm.Model() as mine:
        build_bpmf(TABLE, BPMF(1), fused=True)
    assert mine.free_RVs == []


@pytest.mark.parametrize("biases", [True, False])
def test_draws_have_the_precision_that_the_model_states(biases):
    """What unknown rows are drawn with: of the model at a point, and of the draws handed on."""
    built = bayesmf.bpmf_model(TABLE, n_factors=2, biases=biases)
    point = a_point(built)
    for side in SIDES:
        names = [variable for variable in built.free_RVs if variable.name in point]
        precision = pm.draw(
            pm.do(built, {name.name: point[name.name] for name in names})[f"precision_{side}"],
            mode="FAST_COMPILE",
        )  # fmt: skip
        found = hyper_of(point, side, np.full(2 + biases, np.nan))
        np.testing.assert_allclose(found.precision, precision, rtol=1e-12)
        np.testing.assert_allclose(found.mean, point[f"mu_{side}"])


def test_compiled_code_serves_tables_of_all_sizes():
    """PyTensor keeps code by what is in the graph: no number of users, items or ratings is."""
    other = bayesmf.simulate(11, 8, 60, n_factors=2, random_seed=5).ratings
    constants = []
    for ratings in (TABLE, other):
        built = build_bpmf(ratings, BPMF(2), fused=True)
        values, total = built.continuous_value_vars, built.logp()
        # What Numba would compile, not compiled.
        mode = Mode("py", get_mode("NUMBA").provided_optimizer)
        graph = pytensor.function(values, [total, *pytensor.grad(total, values)], mode=mode)
        inputs = [one for node in graph.maker.fgraph.apply_nodes for one in node.inputs]
        found = {str(np.asarray(one.data).tolist()) for one in inputs if isinstance(one, Constant)}
        constants.append(found)
    assert constants[0] == constants[1]


def test_a_part_of_the_ratings_stands_for_all():
    """Batches: cells twice with twice the share, or in another order, make no difference."""
    density = Density(build_bpmf(TABLE, BPMF(2), fused=True))
    x = 0.3 * np.random.default_rng(1).standard_normal(density.n_parameters)
    value, slope = density(x)
    names = ("user_code", "item_code", "target")
    twice = {name: np.tile(density.data(name)[::-1], 2) for name in names}
    density.set_data(share=2.0, **twice)
    again, gradient = density(x)
    assert again == pytest.approx(value, rel=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-10, atol=1e-10)


def test_a_density_serves_several_threads_at_once():
    density = Density(build_bpmf(TABLE, BPMF(2), fused=True))
    points = 0.3 * np.random.default_rng(1).standard_normal((400, density.n_parameters))
    alone = [density(x)[0] for x in points]
    with ThreadPoolExecutor(4) as pool:
        together = [value for value, _ in pool.map(density, points)]
    assert together == alone


def test_bartletts_decomposition_is_the_wishart():
    """The density of its parts is the Wishart's of B B' times the derivative of the map."""
    built = bayesmf.bpmf_model(TABLE, n_factors=2)
    prior = BPMF(2).prior.resolve(TABLE.n_users, 2, True)
    d, differences = 3, []
    rows, columns = np.tril_indices(d)
    for seed in (1, 2, 3):
        point = a_point(built, seed)
        strength = point["strength_user"]

        def precision(x, strength=strength):
            parts = {"bartlett_squares_user": x[:d], "bartlett_below_user": x[d:]}
            root = root_of(parts, "user", d, strength)
            return (root @ root.T)[rows, columns]

        x = np.concatenate([point["bartlett_squares_user"], point["bartlett_below_user"]])
        steps = 1e-6 * np.eye(len(x))
        jacobian = np.array([(precision(x + h) - precision(x - h)) / 2e-6 for h in steps])
        full = np.zeros((d, d))
        full[rows, columns] = precision(x)
        full += np.tril(full, -1).T
        wishart = stats.wishart.logpdf(full, prior.dof, np.diag(1 / strength))
        parts = stats.chi2.logpdf(x[:d], prior.dof - np.arange(d)).sum()
        parts += stats.norm.logpdf(x[d:]).sum()
        differences.append(wishart + np.linalg.slogdet(jacobian)[1] - parts)
    np.testing.assert_allclose(differences, 0, atol=1e-6)


def test_prior_draws_have_the_priors_moments():
    """E Lambda = dof / w, and rows around their mean with that precision: what logp cannot show.

    Six sigma of 4,000 draws for each of the numbers: a false failure has a probability of 1e-7.
    """
    prior = NormalWishart(strength=2.0, extra_dof=20.0, row_share=0.0)
    built = bayesmf.bpmf_model(TABLE, n_factors=2, prior=prior)
    names = ["precision_user", "mu_user", "user_rows"]
    drawn = pm.draw([built[name] for name in names], draws=4000, random_seed=1, mode="FAST_COMPILE")
    precision, mean, rows = (np.asarray(values) for values in drawn)
    dof = 3 + 20.0
    expected = dof / 2.0 * np.eye(3)
    sd = np.sqrt((1 + np.eye(3)) * dof) / 2.0 / np.sqrt(4000)
    assert (np.abs(precision.mean(axis=0) - expected) < 6 * sd).all()
    # Standardised by their own precision, rows and means are standard normal.
    roots = np.linalg.cholesky(precision)
    for values, weight in ((rows[:, 0] - mean, 1.0), (mean, 2.0)):
        z = np.sqrt(weight) * np.einsum("sab,sa->sb", roots, values)
        assert np.abs(z.mean(axis=0)).max() < 6 / np.sqrt(4000)
        off = z.T @ z / 4000 - np.eye(3)
        assert np.abs(off).max() < 6 * np.sqrt(2 / 4000)


def test_names_and_coordinates_are_those_of_the_table():
    frame = TABLE.to_frame().assign(user=lambda table: "u" + table["user"].astype(str))
    built = bayesmf.bpmf_model(frame, n_factors=2)
    dims = built.named_vars_to_dims
    assert dims["user_factors"] == ("user", "factor")
    assert dims["item_bias"] == ("item",)
    assert dims["rating"] == ("rating_id",)
    assert list(built.coords["user"]) == sorted(frame["user"].unique())
    assert list(built.coords["coordinate"]) == ["0", "1", "bias"]


def test_a_model_can_be_drawn_and_added_to():
    built = bayesmf.pmf_model(TABLE, n_factors=2, sigma=1.0, sigma_user=0.4, sigma_item=0.4)
    graph = pm.model_to_graphviz(built).source
    for name in ("user_factors", "item_factors", "sigma_bias", "rating"):
        assert name in graph
    with built:
        pm.Normal("more", built["user_bias"][0], 1.0)
    assert "more" in [variable.name for variable in built.free_RVs]


def pmf_log_density(point, spreads, mean):
    total = stats.norm.logpdf(TABLE.values, mean, spreads["sigma"]).sum()
    for side in SIDES:
        total += stats.norm.logpdf(point[f"{side}_factors"], 0, spreads[f"sigma_{side}"]).sum()
        total += stats.norm.logpdf(point[f"{side}_bias"], 0, spreads["sigma_bias"]).sum()
    return total


@pytest.mark.parametrize("link", ["identity", "logistic"])
@pytest.mark.parametrize("learned", [False, True])
def test_pmf_is_the_model_of_the_paper(link, learned):
    given = {"sigma": 0.9, "sigma_user": 0.5, "sigma_item": 0.3, "sigma_bias": 0.4}
    built = bayesmf.pmf_model(TABLE, n_factors=2, link=link, **({} if learned else given))
    point = a_point(built)
    spreads = {name: point.get(name, value) for name, value in given.items()}
    u, v = point["user_factors"][TABLE.users], point["item_factors"][TABLE.items]
    cells = (u * v).sum(1) + point["user_bias"][TABLE.users] + point["item_bias"][TABLE.items]
    low, high = TABLE.bounds
    if link == "identity":
        mean = TABLE.mean + cells
    else:
        share = (TABLE.mean - low) / (high - low)
        mean = low + (high - low) / (1 + (1 / share - 1) * np.exp(-cells))
    expected = pmf_log_density(point, spreads, mean)
    if learned:
        unit = TABLE.sd if link == "identity" else 1.0
        widths = {"sigma": TABLE.sd, "sigma_user": unit**0.5, "sigma_item": unit**0.5}
        widths["sigma_bias"] = unit
        expected += sum(stats.halfnorm.logpdf(point[name], 0, widths[name]) for name in given)
    assert log_density(built, point) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("link", ["identity", "logistic"])
def test_free_prior_means_are_normal_around_zero(link):
    """With the root of what the link's cells are measured in for their sd."""
    given = {"sigma": 0.9, "sigma_user": 0.5, "sigma_item": 0.3}
    built = bayesmf.pmf_model(
        TABLE, n_factors=2, biases=False, link=link, learn_means=True, **given
    )
    zero = a_point(built)
    found = {}
    # Of two points that differ in the means, the priors of these and of the factors differ.
    for name, shift in (("zero", 0.0), ("shifted", 0.4)):
        point = dict(zero)
        for side in SIDES:
            point[f"mean_{side}"] = np.full(2, shift)
        found[name] = log_density(built, point)
    sd = TABLE.sd**0.5 if link == "identity" else 1.0
    expected = 4 * (stats.norm.logpdf(0.4, 0, sd) - stats.norm.logpdf(0, 0, sd))
    for side in SIDES:
        rows = zero[f"{side}_factors"]
        at = [stats.norm.logpdf(rows, mean, given[f"sigma_{side}"]).sum() for mean in (0.4, 0.0)]
        expected += at[0] - at[1]
    assert found["shifted"] - found["zero"] == pytest.approx(expected, rel=1e-10)


def test_the_density_of_pmf_grows_without_bound_as_a_spread_goes_to_zero():
    """Why MAP cannot learn the spreads: U = 0 and a smaller one is always more probable."""
    built = bayesmf.pmf_model(TABLE, n_factors=2)
    point = a_point(built) | {"user_factors": np.zeros((TABLE.n_users, 2))}
    found = [
        log_density(built, point | {"sigma_user": np.array(spread)}) for spread in (0.1, 1e-3, 1e-6)
    ]
    assert np.diff(found).min() > 50
