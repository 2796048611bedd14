"""The row updates against a posterior that was integrated, ALS against a mode that was searched.

A table of 3 users x 2 items, hyperparameters and noise known: `quadrature` gives every posterior
mean and sd to ten digits. The sampler runs on thousands of copies of that table side by side. Rows
of different copies share no rating, so given the hyperparameters the copies are independent chains
of the same small posterior, and the spread between their averages is the Monte Carlo error: no
estimate of autocorrelation is needed.

Every quantity has two averages, x and (x - E x)^2, which must be the exact mean and variance. Their
t statistics over copies are held, together, to the suite's false-failure rate of 1e-5 a test. The
errors that these tests would see are not left to argument: `FAULTS` are made, and seen.
"""

from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

import bayesmf
from bayesmf.gibbs.conditionals import Hyper
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.sampler import State, build_blocks
from bayesmf.kernels.blocks import Data
from bayesmf.kernels.streams import Streams
from bayesmf.model import BPMF, WorkingScale
from bayesmf.ratings import Ratings
from tests.statistical.quadrature import (
    World,
    exact,
    given_factors,
    loss,
    mode,
    quantities,
)
from tests.statistical.rates import FALSE_FAILURE_RATE, adjusted, assert_plausible

NAN = np.nan
TABLE = np.array([[1.5, -0.5], [NAN, 2.0], [0.75, -1.25]])  # numbers that float32 holds

FACTORS = World(
    TABLE,
    alpha=2.0,
    user_mean=np.array([0.5]),
    user_precision=np.array([[1.2]]),
    item_mean=np.array([-0.4]),
    item_precision=np.array([[0.8]]),
)
BIASES = World(
    TABLE,
    alpha=2.0,
    user_mean=np.array([0.5, -0.3]),
    user_precision=np.array([[1.2, 0.4], [0.4, 1.5]]),
    item_mean=np.array([-0.4, 0.2]),
    item_precision=np.array([[0.8, -0.3], [-0.3, 1.1]]),
)
# With means of zero (u, v) and (-u, -v) are equally likely: u and v have mean zero, and their
# variances and the cells say all that can be known.
SYMMETRIC = FACTORS._replace(user_mean=np.zeros(1), item_mean=np.zeros(1))
WORLDS = {"factors": FACTORS, "biases": BIASES, "symmetric": SYMMETRIC}


@pytest.fixture(params=WORLDS, scope="module")
def world(request):
    return WORLDS[request.param]


def log_joint(world, user_rows, item_rows):
    """Log density of the ratings and all rows, from the model's statement."""
    rows = (
        (user_rows, world.user_mean, world.user_precision),
        (item_rows, world.item_mean, world.item_precision),
    )
    total = sum(
        stats.multivariate_normal.logpdf(one, mean, np.linalg.inv(precision))
        for side, mean, precision in rows
        for one in side
    )
    for i, j in np.argwhere(np.isfinite(world.table)):
        cell = user_rows[i, 0] * item_rows[j, 0]
        if world.biases:
            cell += user_rows[i, 1] + item_rows[j, 1]
        total += stats.norm.logpdf(world.table[i, j], cell, world.alpha**-0.5)
    return total


def test_integrating_given_the_items_factors(world):
    """log p(y, v) = log p(y, v, theta) - log p(theta | y, v), whatever theta."""
    rng = np.random.default_rng(1)
    (n, m), d = world.table.shape, len(world.user_mean)
    for _ in range(5):
        users, items = rng.standard_normal((n, d)), rng.standard_normal((m, d))
        at = given_factors(world, items[None, :, 0])
        theta = np.concatenate([users.ravel(), items[:, 1:].ravel()])
        law = stats.multivariate_normal(at.mean[0], at.covariance[0])
        apart = log_joint(world, users, items) - law.logpdf(theta)
        assert at.log_density[0] == pytest.approx(apart, abs=1e-10)


def differences(one, other, names):
    """Largest difference of a mean or sd; `names` gives the other's name of each quantity."""
    gaps = [abs(one.mean[a] - other.mean[b]) for a, b in names.items()]
    gaps += [abs(one.sd[a] - other.sd[b]) for a, b in names.items()]
    return max(*gaps, abs(one.log_evidence - other.log_evidence))


def test_the_grid_is_fine_and_wide_enough(world):
    reference = exact(world, points=257, reach=10.0)
    same = {name: name for name in reference.mean}
    assert differences(exact(world), reference, same) < 1e-10
    # The check can fail: a coarse grid and a narrow one are seen.
    assert differences(exact(world, points=17), reference, same) > 1e-4
    assert differences(exact(world, reach=2.0), reference, same) > 1e-4


def test_either_side_may_be_put_on_the_grid(world):
    """Integrals over 3 users' factors and over 2 items' are different sums for the same numbers."""
    swapped = {"u": "v", "v": "u", "b": "c", "c": "b"}
    moments = exact(world)
    other = exact(world.transposed(), points=53, reach=7.0)
    names = {}
    for name in moments.mean:
        kind, index = name[:-1].split("[")
        if kind == "cell":
            names[name] = f"cell[{','.join(reversed(index.split(',')))}]"
        else:
            names[name] = f"{swapped[kind]}[{index}]"
    assert sorted(names.values()) == sorted(other.mean)
    assert differences(moments, other, names) < 5e-6


class Run(NamedTuple):
    """How many copies of a world, and how many sweeps of them are kept."""

    copies: int
    sweeps: int
    burn: int = 150


def many_copies(world, copies):
    """Ratings of `copies` tables that share neither users nor items."""
    (n, m), (i, j) = world.table.shape, np.nonzero(np.isfinite(world.table))
    copy = np.arange(copies)[:, None]
    values = np.tile(world.table[i, j], copies)
    return Ratings(((copy * n + i).ravel(), (copy * m + j).ravel(), values))


def gauss_seidel(blocks, state, streams):
    """Users given items, then items given the new users: the scan of the sampler."""
    return blocks["item_rows"](blocks["user_rows"](state, streams), streams)


def sampled(world, engine, run, seed, told=None, scan=gauss_seidel):
    """p-values of all means and variances, and the standard errors of means in posterior sds.

    `told` is the world that the sampler is told; a test of the tests tells it another.
    """
    told = told or world
    (n, m), d = world.table.shape, len(world.user_mean)
    data = Data.build(many_copies(world, run.copies), WorkingScale(0.0, 1.0), 1, world.biases)
    model = BPMF(n_factors=1, biases=world.biases, alpha=told.alpha)
    # Without burn-in by the compiled engine the readable one would spend its time on it.
    burn_in, keep = (build_blocks(data, model, ENGINES[name]) for name in ("numba", engine))
    rng = np.random.default_rng(seed)
    state = State(
        0,
        rng.standard_normal((run.copies * n, d)),
        rng.standard_normal((run.copies * m, d)),
        Hyper(told.user_mean, told.user_precision, np.ones(d)),
        Hyper(told.item_mean, told.item_precision, np.ones(d)),
        told.alpha,
    )
    streams = Streams.of_chain(seed, 0)
    truth = exact(world)
    sums = {(name, power): np.zeros(run.copies) for name in truth.mean for power in (1, 2)}
    for sweep in range(1, run.burn + run.sweeps + 1):
        state = state._replace(sweep=sweep)
        state = scan(burn_in if sweep <= run.burn else keep, state, streams)
        if sweep > run.burn:
            rows = state.user_rows.reshape(-1, n, d), state.item_rows.reshape(-1, m, d)
            for name, values in quantities(*rows).items():
                for power in (1, 2):
                    sums[name, power] += (values - truth.mean[name]) ** power / run.sweeps
    p_values, errors = {}, {}
    for (name, power), averages in sums.items():
        error = averages.std(ddof=1) / np.sqrt(run.copies)
        gap = averages.mean() - (truth.sd[name] ** 2 if power == 2 else 0.0)
        label = f"{'variance' if power == 2 else 'mean'} of {name}"
        p_values[label] = 2 * stats.t.sf(abs(gap / error), run.copies - 1)
        if power == 1:
            errors[name] = error / truth.sd[name]
    return p_values, errors


# Beside each run, the standard error of a cell's mean that it must reach, in posterior sds.
RUNS = {"numba": (Run(3_000, 250), 0.003), "numpy": (Run(250, 60), 0.02)}


@pytest.mark.parametrize("engine", RUNS)
def test_rows_have_the_posterior_that_was_integrated(world, engine):
    """Compiled, a cell's mean is known to 0.3% of its sd at worst: an error of 2.5% fails surely.

    The readable engine, which is much slower, knows it to 2%; that it agrees with the compiled one
    draw by draw is for tests/test_engines.py. Factors mix more slowly than cells, since a copy
    seldom goes from one sign to the other, and that is in their standard errors too.
    """
    run, precise = RUNS[engine]
    p_values, errors = sampled(world, engine, run, seed=7)
    assert max(error for name, error in errors.items() if name.startswith("cell")) < precise
    assert_plausible(p_values)


def jacobi(blocks, state, streams):
    """Both sides given the old state: a parallel sweep that is not the posterior's."""
    users, items = blocks["user_rows"](state, streams), blocks["item_rows"](state, streams)
    return state._replace(user_rows=users.user_rows, item_rows=items.item_rows)


def misled(**changes):
    return {"told": BIASES._replace(**changes)}


FAULTS = {
    "noise precision 2% too large": misled(alpha=1.02 * BIASES.alpha),
    "mean of users too large by 2% of an sd": misled(user_mean=BIASES.user_mean + 0.02),
    "precision of items 3% too small": misled(item_precision=0.97 * BIASES.item_precision),
    "prior without its correlation": misled(user_precision=np.diag(np.diag(BIASES.user_precision))),
    "covariance taken for precision": misled(item_precision=np.linalg.inv(BIASES.item_precision)),
    "sides drawn from the old state": {"scan": jacobi},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_seen(fault):
    p_values, _ = sampled(BIASES, "numba", RUNS["numba"][0], seed=7, **FAULTS[fault])
    assert adjusted(p_values)[1] < FALSE_FAILURE_RATE


RIDGE, RIDGE_BIAS = 0.3, 0.2
MODES = {
    "factors": SYMMETRIC._replace(
        user_precision=np.array([[2 * RIDGE]]), item_precision=np.array([[2 * RIDGE]])
    ),
    "biases": World(
        TABLE,
        2.0,
        *(np.zeros(2), np.diag([2 * RIDGE, 2 * RIDGE_BIAS])),
        *(np.zeros(2), np.diag([2 * RIDGE, 2 * RIDGE_BIAS])),
    ),
}


@pytest.mark.parametrize("name", WORLDS)
def test_loss_is_the_log_density(name):
    world = WORLDS[name]
    rng = np.random.default_rng(2)
    (n, m), d = world.table.shape, len(world.user_mean)
    rows = [(rng.standard_normal((n, d)), rng.standard_normal((m, d))) for _ in range(5)]
    constant = [loss(world, *one) + 2 / world.alpha * log_joint(world, *one) for one in rows]
    np.testing.assert_allclose(constant, constant[0], rtol=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", MODES)
def test_als_finds_the_mode(name, seed):
    """With means of zero the posterior's mode is ALS with reg = lambda / alpha."""
    world = MODES[name]
    users, items = mode(world)
    i, j = np.nonzero(np.isfinite(world.table))
    als = bayesmf.fit_als(
        (i, j, world.table[i, j]), n_factors=1, biases=world.biases, reg=RIDGE,
        reg_bias=RIDGE_BIAS, center=False, tol=1e-15, max_iter=10_000, random_seed=seed,
        progressbar=False,
    )  # fmt: skip
    assert als.loss[-1] == pytest.approx(loss(world, users, items), rel=1e-12)
    cells, best = list(np.ndindex(world.table.shape)), quantities(users, items)
    expected = [best[f"cell[{i},{j}]"] for i, j in cells]
    np.testing.assert_allclose(als.predict(cells)["mean"], expected, rtol=0, atol=1e-6)
    # Not the trivial stationary point at zero factors, which would need no search.
    assert abs(users[:, 0]).max() > 0.5
