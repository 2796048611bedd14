"""What the maths says of every table and every model, on tables and models made at random.

Ids and the order of rows mean nothing: bits do not change. Units mean nothing: results are in the
units of the ratings. Labels and sides mean nothing to a conditional: it is permuted or swapped with
them. Only random numbers depend on places: the draws are then others from the same posterior.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy import stats

import bayesmf
from bayesmf.gibbs.conditionals import Hyper, row_conditional
from bayesmf.gibbs.engines import ENGINES, RowTask
from bayesmf.gibbs.sampler import State, build_blocks
from bayesmf.kernels.blocks import Data
from bayesmf.kernels.updates import prepare
from bayesmf.model import BPMF, NormalWishart, WorkingScale
from bayesmf.ratings import Ratings
from tests.statistical.rates import assert_plausible

# Without shrinking, which takes longer than a test may; the tables are small as they are.
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=40, phases=[Phase.generate])
RUN = {"tune": 2, "draws": 3, "chains": 2, "cores": 1, "random_seed": 3, "progressbar": False}
CELLS = [(0, 0), (1, 1), (99, 1), (0, 99), (99, 99)]  # two known, three with unknown rows
NUMBERS = ["mean", "sd", "lower", "upper"]


class Table(NamedTuple):
    """Ratings by codes, each of which has at least one."""

    users: np.ndarray
    items: np.ndarray
    values: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        return int(self.users.max()) + 1, int(self.items.max()) + 1

    def fit(self, **kwargs):
        return bayesmf.fit_bpmf(tuple(self), **(RUN | kwargs))

    def data(self, n_factors, has_bias) -> Data:
        return Data.build(Ratings(tuple(self)), WorkingScale(1.25, 2.0), n_factors, has_bias)

    def relabelled(self, users, items):
        """The same ratings, `users[c]` and `items[c]` for code c."""
        return Table(users[self.users], items[self.items], self.values)

    def swapped(self):
        return Table(self.items, self.users, self.values)


@st.composite
def tables(draw) -> Table:
    """Any shape, from one rating a row to every cell; quarters, so that float32 is exact."""
    n_users, n_items = draw(st.integers(2, 25)), draw(st.integers(2, 25))
    share = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kept = rng.random((n_users, n_items)) < share
    diagonal = np.arange(max(n_users, n_items))
    kept[rng.permutation(n_users)[diagonal % n_users], diagonal % n_items] = True
    users, items = np.nonzero(kept)
    top = draw(st.sampled_from([1, 20, 400]))
    values = rng.integers(-top, top, len(users), endpoint=True) / 4
    values[0] += len(set(values)) == 1
    return Table(users, items, values)


@st.composite
def models(draw) -> dict[str, Any]:
    """Any rank, also above the number of rows, with any kind of prior."""
    positive = st.floats(0.1, 20)
    gammas = st.builds(bayesmf.GammaPrior, positive, positive)
    priors = st.builds(
        NormalWishart,
        mu0=st.floats(-1, 1),
        beta0=positive,
        extra_dof=st.floats(0, 30),
        row_share=st.floats(0, 1),
        interaction_share=st.floats(0.001, 1),
        strength=st.none() | positive | gammas,
    )
    biases = draw(st.booleans())
    return {
        "n_factors": draw(st.integers(0 if biases else 1, 5) | st.just(30)),
        "biases": biases,
        "prior": draw(st.none() | priors),
        "alpha": draw(st.none() | positive | gammas),
        "center": draw(st.just("mean") | st.integers(-40, 40).map(lambda k: k / 4)),
        "scale": draw(st.just("sd") | positive),
        "backend": draw(st.sampled_from(list(ENGINES))),
    }


def in_units(model, shift, factor) -> dict[str, Any]:
    """The model for ratings shift + factor * rating."""
    given = {name: model[name] for name in ("center", "scale") if model[name] not in ("mean", "sd")}
    return model | {name: factor * x + shift * (name == "center") for name, x in given.items()}


TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
KINDS = (st.integers(-(2**63), 2**63 - 1), st.integers(0, 99), TEXT, st.dates(), st.datetimes())
IDS = st.sampled_from(KINDS).flatmap(
    lambda kind: st.lists(kind, min_size=25, max_size=25, unique=True).map(sorted)
)


def drawn(post) -> dict[str, np.ndarray]:
    """Every stored draw of every quantity."""
    groups = ("posterior", "factors")
    return {f"{g}/{v}": a.to_numpy() for g in groups for v, a in post.data[g].data_vars.items()}


def assert_close(found, expected, tolerance, name="") -> None:
    """Close on the scale of the largest number; tolerance 0 means the same bits."""
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * largest, err_msg=name)


@EXAMPLES
@given(tables(), models(), IDS, IDS, st.integers(0, 100))
def test_names_of_ids_and_order_of_rows_change_no_bit(table, model, users, items, seed):
    """Ids of any kind in the same order, rows in any order: all draws and predictions the same."""
    ids = {"user": [users[c] for c in table.users], "item": [items[c] for c in table.items]}
    frame = pd.DataFrame(ids | {"rating": table.values}).sample(frac=1, random_state=seed)
    plain, named = table.fit(**model), bayesmf.fit_bpmf(frame, **(RUN | model))
    expected = drawn(plain)
    for name, array in drawn(named).items():
        assert_close(array, expected[name], 0, name)
    cells = pd.DataFrame({"user": table.users, "item": table.items})
    assert named.predict(pd.DataFrame(ids))[NUMBERS].equals(plain.predict(cells)[NUMBERS])


@settings(EXAMPLES, max_examples=100)
@given(tables(), models(), st.integers(-12, 12))
def test_every_valid_table_and_model_gives_finite_draws(table, model, magnitude):
    """At any magnitude: no NaN, no infinity, no overflow (warnings are errors), true intervals."""
    unit = 10.0**magnitude
    post = table._replace(values=table.values * unit).fit(**in_units(model, 0.0, unit))
    for name, array in drawn(post).items():
        assert np.isfinite(array).all(), name
    found = post.predict(CELLS)
    assert np.isfinite(found[NUMBERS].to_numpy()).all()
    assert (found["lower"] < found["upper"]).all()


def in_old_units(draws, shift, factor, n_ratings, has_bias) -> dict[str, np.ndarray]:
    """Draws for ratings shift + factor * rating as draws for the ratings themselves."""
    unit = np.full(draws["factors/mu_user"].shape[-1], np.sqrt(factor))  # half on each side
    unit[-1] = factor if has_bias else unit[-1]
    units = {"alpha": factor**-2.0}
    for side in ("user", "item"):
        units |= {f"{side}_{name}": np.sqrt(factor) for name in ("factors", "center")}
        units |= {f"mu_{side}": unit}
        units[f"precision_{side}"] = 1 / np.outer(unit, unit)
    found = {name: array / units.get(name.split("/")[1], factor) for name, array in draws.items()}
    for name in ("posterior/probe", "posterior/intercept"):
        found[name] = (draws[name] - shift) / factor
    density = draws["posterior/total_log_likelihood"] + n_ratings * np.log(factor)
    return found | {"posterior/total_log_likelihood": density}


@EXAMPLES
@given(tables(), models(), st.integers(-3, 3))
def test_units_of_a_power_of_four_scale_every_bit(table, model, power):
    """Nothing is rounded by a power of four, whose root is a power of two: not float32 either."""
    factor = 4.0**power
    plain = table.fit(**model)
    other = table._replace(values=table.values * factor).fit(**in_units(model, 0.0, factor))
    found = in_old_units(drawn(other), 0.0, factor, len(table.values), model["biases"])
    for name, array in drawn(plain).items():
        # A logarithm, and a decomposition by LAPACK, may round.
        rounds = name in ("posterior/total_log_likelihood", "posterior/singular_value")
        assert_close(found[name], array, 1e-9 * rounds, name)
    before, after = (post.predict(CELLS[:2])[NUMBERS] for post in (plain, other))
    assert after.equals(factor * before)


@settings(EXAMPLES, max_examples=60)
@given(tables(), models(), st.integers(-4000, 4000), st.integers(1, 80))
def test_shifted_and_scaled_ratings_shift_and_scale_results(table, model, quarters, eighths):
    """Draws to 1e-9, or to float32 where they are kept in it, and predictions from those.

    A run is a smooth function of the ratings given the seed: what is drawn by rejection, gammas and
    chi-squares, has shapes that depend on counts alone. No decision can flip, and a few sweeps stay
    near rounding.
    """
    shift, factor = quarters / 4, eighths / 8
    plain = table.fit(**model)
    moved = table._replace(values=shift + factor * table.values)
    other = moved.fit(**in_units(model, shift, factor))
    found = in_old_units(drawn(other), shift, factor, len(table.values), model["biases"])
    for name, array in drawn(plain).items():
        tolerance = 1e-9 if array.dtype == np.float64 else 1e-6
        # Roots of products: what is zero but for rounding shows the root of that rounding.
        tolerance = 1e-6 if name == "posterior/singular_value" else tolerance
        assert_close(found[name], array, tolerance, name)
    before, after = (post.predict(CELLS)[NUMBERS].to_numpy() for post in (plain, other))
    after = (after - shift * np.array([1, 0, 1, 1])) / factor
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-4 * before[:, 1].max())


@st.composite
def states(draw) -> tuple[Table, State, bool, np.random.Generator]:
    """A table, any state of a chain on it, whether that has biases, and a generator."""
    table, d, has_bias = draw(tables()), draw(st.integers(1, 6)), draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = [rng.standard_normal((n, d)) for n in table.shape]
    roots = rng.standard_normal((2, d, d + 3))
    hypers = [Hyper(rng.standard_normal(d), r @ r.T / d, rng.gamma(2.0, size=d)) for r in roots]
    return table, State(0, *rows, *hypers, 1.7), has_bias, rng


class OneStream:
    """Random numbers that do not know what they are for."""

    def generator(self, sweep, purpose):
        return np.random.default_rng(5)

    def normals(self, start, stop, sweep, purpose, dtype):
        return np.random.default_rng(6).standard_normal(stop, dtype)[start:]


def draw(block, table, state, has_bias, engine) -> np.ndarray:
    """What a block of the sweep draws on a table, from the same random numbers as any other."""
    model = BPMF(state.user_rows.shape[1] - has_bias, has_bias, NormalWishart(mu0=0.3))
    data = table.data(model.n_factors, has_bias)
    new = build_blocks(data, model, ENGINES[engine])[block](state, OneStream())
    if block.endswith("rows"):
        return getattr(new, block)
    parts = (new.alpha,) if block == "noise" else getattr(new, block)
    return np.hstack([np.ravel(part) for part in parts])


def row_conditionals(data, partners, hyper, has_bias, z) -> dict[str, np.ndarray]:
    """Mean and precision of each row by the reference, and means and draws by the engines."""
    side, rest = data.side, (has_bias, 1.7, hyper.mean, hyper.precision)
    own = [slice(*side.indptr[row : row + 2]) for row in range(side.n_rows)]
    pairs = [row_conditional(partners[side.partners[o]], data.targets[o], *rest) for o in own]
    found = {"mean": np.array([p[0] for p in pairs]), "precision": np.array([p[1] for p in pairs])}
    task = RowTask(data, partners, has_bias, 1.7, hyper)
    for engine in ENGINES:
        # A row drawn in the space of its ratings has more normals than coordinates: zeros here.
        normals = np.zeros(data.normal_starts[-1])
        for row, start in enumerate(data.normal_starts[:-1]):
            normals[start : start + z.shape[1]] = z[row]
        out = found[engine] = np.empty_like(z)
        ENGINES[engine].drawer(task, None)(range(side.n_rows), normals, out)
    given = partners, has_bias, 1.7, hyper.mean, hyper.precision
    update = prepare(data, *given, None, means_only=True)
    update.block(range(side.n_rows), np.empty(0), found.setdefault("means", np.empty_like(z)))
    return found


@settings(EXAMPLES, max_examples=80)
@given(states())
def test_conditionals_are_relabelled_with_the_rows(case):
    """Any relabelling of both sides permutes every conditional; only sums change their order."""
    table, state, has_bias, rng = case
    labels = [rng.permutation(n) for n in table.shape]
    users, items = (np.argsort(new) for new in labels)
    other = table.relabelled(*labels)
    moved = state._replace(user_rows=state.user_rows[users], item_rows=state.item_rows[items])
    n_factors = state.user_rows.shape[1] - has_bias
    here, there = (t.data(n_factors, has_bias) for t in (table, other))
    for a, b, partners, order, hyper, old in (
        (here.users, there.users, state.item_rows, items, state.user_hyper, users),
        (here.items, there.items, state.user_rows, users, state.item_hyper, items),
    ):
        z = rng.standard_normal((len(old), len(hyper.mean)))
        found = row_conditionals(b, partners[order], hyper, has_bias, z[old])
        for name, array in row_conditionals(a, partners, hyper, has_bias, z).items():
            assert_close(found[name], array[old], 1e-12, name)
    for engine in ENGINES:
        for block in ("user_hyper", "item_hyper", "noise"):
            expected = draw(block, table, state, has_bias, engine)
            assert_close(draw(block, other, moved, has_bias, engine), expected, 1e-12, block)


@settings(EXAMPLES, max_examples=80)
@given(states(), st.sampled_from(list(ENGINES)))
def test_conditionals_are_swapped_with_the_sides(case, engine):
    """Users for items: each block of the sweep draws the bits that the other side's drew."""
    table, state, has_bias, _ = case
    swapped = State(0, *state[2:0:-1], *state[4:2:-1], state.alpha)
    twins = {"user_hyper": "item_hyper", "user_rows": "item_rows"}
    for block, twin in (twins | {b: a for a, b in twins.items()} | {"noise": "noise"}).items():
        expected = draw(block, table, state, has_bias, engine)
        # The one sum over all ratings runs by users on either table.
        tolerance = 1e-12 if block == "noise" else 0
        assert_close(draw(twin, table.swapped(), swapped, has_bias, engine), expected, tolerance)


def run_many(table, seed) -> tuple[np.ndarray, np.ndarray]:
    """Draws of every cell (chain, draw, user, item) and log alpha, from independent chains."""
    run = {"n_factors": 1, "tune": 60, "draws": 150, "chains": 60, "random_seed": seed}
    draws = table.fit(**run, probe=10**6).data["posterior"]
    cells = draws["probe"].to_numpy().reshape(60, 150, *table.shape)
    return cells, np.log(draws["alpha"].to_numpy())


@pytest.mark.thorough  # of conditionals and bits the tests above say it exactly
def test_the_posterior_keeps_nothing_of_labels_and_sides():
    """Posterior means of all cells, of the noise, and of their squares agree from other numbers.

    Chains are independent, and each gives one mean: a t-test on them needs no autocorrelation.
    Power: the standard error of a difference is below 0.05 posterior sds for every cell, so that
    a shift of 0.35 sds in one cell fails at the suite's rate in nine of ten runs.
    """
    rng = np.random.default_rng(8)
    users, items = np.divmod(np.sort(rng.permutation(30)[:20]), 5)
    table = Table(users, items, rng.integers(2, 21, 20) / 4)
    to_users, to_items = (rng.permutation(n) for n in table.shape)
    reference = run_many(table, 1)
    cells, alpha = run_many(table.relabelled(to_users, to_items), 2)
    others = {"relabelled": (cells[:, :, to_users][:, :, :, to_items], alpha)}
    cells, alpha = run_many(table.swapped(), 3)
    others["swapped"] = (cells.swapaxes(2, 3), alpha)
    p_values = {}
    for change, other in others.items():
        for a, b in zip(reference, other, strict=True):
            center, sd = a.mean(axis=(0, 1)), a.std(axis=(0, 1))
            error = np.sqrt((a.mean(axis=1).var(axis=0) + b.mean(axis=1).var(axis=0)) / len(a))
            assert (error < 0.05 * sd).all()
            for power in (1, 2):
                means = [((x - center) ** power).mean(axis=1) for x in (a, b)]
                test = stats.ttest_ind(*means, axis=0, equal_var=False)
                for cell, p in np.ndenumerate(test.pvalue):
                    p_values[f"{change}, {cell or 'alpha'}, power {power}"] = p
    assert_plausible(p_values)
