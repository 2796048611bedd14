"""Every check of a closed form by name, and those of a sweep: what is drawn given what, and when.

`CHECKS` maps a name to `check(package)`, which raises AssertionError where the package of that name
is wrong. The checks need no luck: none draws a number whose value it does not know.

A sweep is put together by hand here from the parts that other checks hold to formulas, in the order
of the scan, each with the stream of its own purpose; the package's must have the same bits.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import stats

from bayesmf.kernels.streams import Purpose, Streams
from bayesmf.model import BPMF, GammaPrior, NormalWishart, WorkingScale
from bayesmf.ratings import Ratings
from tests.statistical.closed_forms_extremes import EXTREME_CHECKS
from tests.statistical.closed_forms_hyper import HYPER_CHECKS, precision_matrix
from tests.statistical.closed_forms_moves import MOVES_CHECKS
from tests.statistical.closed_forms_normals import NORMALS_CHECKS
from tests.statistical.closed_forms_rows import (
    ENGINE_NAMES,
    ROW_CHECKS,
    Drawn,
    affine_map,
    assert_close,
    by_row,
    part,
    row_world,
)
from tests.statistical.invariance import MOVES, PARTS
from tests.statistical.paths import PATHS, Path

if TYPE_CHECKING:
    from collections.abc import Callable

WRITES = {
    "noise": ("alpha", "squared_error"),
    "user_rows": ("user_rows", "user_moments", "squared_error"),
    "item_rows": ("item_rows", "item_moments", "squared_error"),
    **dict.fromkeys(
        ("user_shift", "item_shift"),
        (
            "squared_error",
            *(f"{side}_{of}" for side in ("user", "item") for of in ("rows", "hyper", "moments")),
        ),
    ),
    "user_scale": ("user_rows", "user_hyper", "user_moments", "squared_error"),
    "item_scale": ("item_rows", "item_hyper", "item_moments", "squared_error"),
}
N_USERS, N_ITEMS = 14, 9
PRIOR = NormalWishart(mu0=0.2, beta0=1.5, extra_dof=3.0, row_share=0.5, interaction_share=0.4)
MODELS = {
    "biases, all learned": BPMF(2, True, PRIOR, GammaPrior(1.5, 0.7)),
    "no biases, all fixed": BPMF(3, False, NormalWishart(strength=1.3), 2.5),
    "bias only": BPMF(0, True, NormalWishart(strength=GammaPrior(2.0, 1.0)), 1.7),
}
"""The sides differ in size, so that each has degrees of freedom of its own."""


def small_table() -> Ratings:
    """Make a table in which not every cell is observed, in units of its own."""
    rng = np.random.default_rng(30)
    observed = rng.random((N_USERS, N_ITEMS)) < 0.6
    observed[0], observed[:, 0] = True, True
    users, items = np.nonzero(observed)
    return Ratings((users, items, rng.integers(1, 11, len(users)) / 2))


def build_data(package: str, n_factors: int, has_bias: bool) -> Any:
    """Data of the small table in several blocks a side, as the package builds them."""
    module = part(package, "kernels.blocks")
    built = module.Data.build(small_table(), WorkingScale(2.75, 1.5), n_factors, has_bias)
    sides = []
    for data in (built.users, built.items):
        sides.append(data._replace(blocks=module.row_blocks(data.side, 50)))
        assert len(sides[-1].blocks) > 2
    return module.Data(*sides, has_bias)


def build_state(package: str, model: BPMF) -> Any:
    """Make a state in which every number is of order one and no part follows from another."""
    rng, d = np.random.default_rng(31), model.n_coordinates
    make_hyper = part(package, "gibbs.conditionals").Hyper
    hypers = [
        make_hyper(rng.standard_normal(d), precision_matrix(d, rng), rng.gamma(2.0, 1.0, d))
        for _ in range(2)
    ]
    rows = rng.standard_normal((N_USERS, d)), rng.standard_normal((N_ITEMS, d))
    alpha = 1.3 if isinstance(model.alpha, GammaPrior) else float(model.alpha)
    return part(package, "gibbs.sampler").State(6, *rows, *hypers, alpha)


class ByHand(NamedTuple):
    """One sweep from conditionals, an engine's updates, and streams."""

    package: str
    engine: Any
    data: Any
    model: BPMF
    streams: Streams

    def hyper(self, rows: np.ndarray, current: Any, sweep: int, purpose: Purpose) -> Any:
        model, rng = self.model, self.streams.generator(sweep, purpose)
        prior = model.prior.resolve(len(rows), model.n_factors, model.biases)
        draw = part(self.package, "gibbs.conditionals").draw_hyper
        return draw(self.engine.moments(rows), len(rows), current, prior, rng)

    def rows(
        self, data: Any, partners: np.ndarray, alpha: float, hyper: Any, sweep: int, to: Purpose
    ) -> np.ndarray:
        task = part(self.package, "gibbs.engines").RowTask(
            data, partners, self.model.biases, alpha, hyper
        )
        out = np.full((data.side.n_rows, partners.shape[1]), np.nan)
        draw = self.engine.drawer(task, None)
        d = partners.shape[1]
        for block in data.blocks:
            places = block.start * d, block.stop * d
            draw(block, self.streams.normals(*places, sweep, to, np.float64), out)
        return out

    def sweep(self, state: Any) -> Any:
        now, data = state.sweep + 1, self.data
        users = self.hyper(state.user_rows, state.user_hyper, now, Purpose.USER_HYPER)
        U = self.rows(data.users, state.item_rows, state.alpha, users, now, Purpose.USER_ROWS)
        items = self.hyper(state.item_rows, state.item_hyper, now, Purpose.ITEM_HYPER)
        V = self.rows(data.items, U, state.alpha, items, now, Purpose.ITEM_ROWS)
        if self.model.biases and now % 4 in (1, 2):
            U, V, users, items, error = self.moves(U, V, users, items, state.alpha, now)
        else:
            error = self.error(U, V)
        alpha = part(self.package, "gibbs.conditionals").draw_alpha(
            error, len(small_table()), self.model.alpha, self.streams.generator(now, Purpose.ALPHA)
        )
        moments = self.engine.moments(U), self.engine.moments(V)
        return type(state)(now, U, V, users, items, alpha, error, *moments)

    def error(self, U: np.ndarray, V: np.ndarray) -> float:
        residuals = part(self.package, "gibbs.engines").Residuals
        error_of = self.engine.errors(residuals(self.data.users, U, V, self.model.biases))
        return sum(error_of([block])[0] for block in self.data.users.blocks)

    def moves(
        self, U: np.ndarray, V: np.ndarray, users: Any, items: Any, alpha: float, now: int
    ) -> tuple[np.ndarray, np.ndarray, Any, Any, float]:
        """Shift one side, users in sweeps 1, 5, ... and items in 2, 6, ..., then scale it."""
        moves, flip = part(self.package, "gibbs.moves"), now % 4 == 2
        names, sides = ("USER", "ITEM"), [(U, users), (V, items)]
        (own, hyper), (other, other_hyper) = sides[::-1] if flip else sides
        prior, other_prior = (
            self.model.prior.resolve(len(rows), self.model.n_factors, True) for rows in (own, other)
        )
        rng = self.streams.generator(now, Purpose[f"{names[flip]}_SHIFT"])
        shift = moves.draw_shift(hyper, other_hyper, prior, other_prior, rng)
        own, other = moves.shift_rows(shift, own, other)
        hyper, other_hyper = moves.shift_hypers(shift, hyper, other_hyper)

        rng = self.streams.generator(now, Purpose[f"{names[flip]}_SCALE"])
        g = moves.constant_direction(len(other), self.engine.moments(other))
        rows_at = partial(moves.scale_rows, rows=own, mean=float(hyper.mean[-1]), direction=g)

        def error(s: float) -> float:
            return self.error(other, rows_at(s)) if flip else self.error(rows_at(s), other)

        r, q = moves.levers(own, float(hyper.mean[-1]), other, g)
        side = self.data.users.side
        curve = 0.0
        for row in range(side.n_rows):  # in the order of the kernel
            of = side.partners[side.indptr[row] : side.indptr[row + 1]]
            a, b = (q, r) if flip else (r, q)
            total = 0.0
            for j in of:
                total += b[j] * b[j]
            curve += a[row] * a[row] * total
        at_one = error(1.0)
        parabola = moves.Parabola.through(curve, at_one, error(2.0))
        scaled = moves.ScaledPrecision(hyper.precision, g)
        density = moves.log_scale_density(alpha, parabola, scaled, hyper, prior)
        s = math.exp(moves.draw_slice(density, rng))
        hyper, own = hyper._replace(precision=scaled.at(s)), rows_at(s)
        if prior.learned:
            draw = part(self.package, "gibbs.conditionals").draw_strength
            hyper = hyper._replace(strength=draw(hyper.precision, prior, rng))
        squares = at_one + parabola.at(s)
        if flip:
            return other, own, other_hyper, hyper, squares
        return own, other, hyper, other_hyper, squares


def assert_same_bits(found: Any, expected: Any, what: str) -> None:
    """Fail unless two states are the same in every part."""
    assert found._fields == expected._fields
    for name, a, b in zip(found._fields, found, expected, strict=True):
        parts = zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]
        for one, other in parts:
            np.testing.assert_array_equal(one, other, f"{what}: {name}")


def check_draw_rows(engine: str, path: Path, package: str) -> None:
    """A whole side: each row has the normals of its place in the stream, whatever the blocks."""
    blocks = (range(2), range(2, 3), range(3, 8), range(8, 11))
    streams = Streams.of_chain(5, 1)
    for d, has_bias in ((1, True), (3, False), (4, True)):
        world = row_world(d, has_bias)
        task = world.task(package, path)
        task = task._replace(data=task.data._replace(blocks=blocks))
        drawn = Drawn.by(package, engine, world, path)
        means, maps = affine_map(drawn, drawn.starts)
        for sweep, purpose in ((3, Purpose.USER_ROWS), (4, Purpose.ITEM_ROWS)):
            normals = streams.normals(0, int(drawn.starts[-1]), sweep, purpose, np.float64)
            found = (
                part(package, "gibbs.engines")
                .ENGINES[engine]
                .draw_rows(task, streams, sweep, purpose)
            )
            expected = means + np.einsum("nab,nb->na", maps, by_row(normals, drawn.starts))
            assert_close(found, expected, f"D={d}, biases={has_bias}, {purpose.name}")


def check_sweep(engine_name: str, package: str) -> None:
    """Five sweeps by the package and by hand, and by the named blocks one after the other."""
    sampler = part(package, "gibbs.sampler")
    engine = part(package, "gibbs.engines").ENGINES[engine_name]
    for name, model in MODELS.items():
        data = build_data(package, model.n_factors, model.biases)
        streams = Streams.of_chain(17, 2)
        step = sampler.build_step(data, model, engine)
        blocks = sampler.build_blocks(data, model, engine)
        assert tuple(blocks) == (
            PARTS if model.biases else tuple(name for name in PARTS if name not in MOVES)
        )
        by_hand = ByHand(package, engine, data, model, streams)
        state = build_state(package, model)
        for _ in range(5):
            expected = by_hand.sweep(state)
            one_by_one = state._replace(sweep=state.sweep + 1)
            turn = {1: "user", 2: "item"}.get(one_by_one.sweep % 4)
            for block_name, block in blocks.items():
                if block_name in MOVES and not block_name.startswith(f"{turn}_"):
                    continue
                before, one_by_one = one_by_one, block(one_by_one, streams)
                for field in set(state._fields) - set(WRITES.get(block_name, (block_name,))):
                    same = getattr(before, field) is getattr(one_by_one, field)
                    assert same, f"{name}: {block_name} wrote {field}"
            state, info = step(state, streams)
            assert_same_bits(state, expected, name)
            # Only a whole sweep leaves moments.
            alone = expected._replace(user_moments=None, item_moments=None)
            assert_same_bits(one_by_one, alone, f"{name}, one by one")
            check_info(state, info, model.biases)


def check_info(state: Any, info: Any, has_bias: bool) -> None:
    """Squared error and log-likelihood of a state by scipy.stats, over ratings in fixed order."""
    table = small_table()
    u, v = state.user_rows[table.users], state.item_rows[table.items]
    if has_bias:
        means = np.sum(u[:, :-1] * v[:, :-1], axis=1) + u[:, -1] + v[:, -1]
    else:
        means = np.sum(u * v, axis=1)
    y = (table.values.astype(float) - 2.75) / 1.5
    expected = stats.norm.logpdf(y, means, state.alpha**-0.5).sum()
    np.testing.assert_allclose(info.log_likelihood, expected, rtol=1e-10)
    np.testing.assert_allclose(info.squared_error, ((y - means) ** 2).sum(), rtol=1e-10)
    assert state.squared_error == info.squared_error


def check_data(package: str) -> None:
    """Both sides hold every rating once, with its own partner and value on the working scale."""
    table, module = small_table(), part(package, "kernels.blocks")
    cells = zip(table.users.tolist(), table.items.tolist(), table.values.tolist(), strict=True)
    expected = {(user, item): (value - 2.75) / 1.5 for user, item, value in cells}
    data = module.Data.build(table, WorkingScale(2.75, 1.5), 2, True)
    assert data.has_bias
    assert data.n_ratings == len(expected)
    for flip, side_data in ((False, data.users), (True, data.items)):
        side, found = side_data.side, {}
        for row in range(side.n_rows):
            for t in range(side.indptr[row], side.indptr[row + 1]):
                cell = row, int(side.partners[t])
                found[cell[::-1] if flip else cell] = float(side_data.targets[t])
        assert found == expected
        for size in (1, 20, 50, 1000, None):
            blocks = side_data.blocks if size is None else module.row_blocks(side, size)
            assert [row for block in blocks for row in block] == list(range(side.n_rows))


def check_streams(package: str) -> None:
    """Every address has a counter or a key of its own, and 2^64 numbers before it meets another."""
    module = part(package, "kernels.streams")
    seen = set()
    for seed in range(3):
        for chain in range(3):
            streams = module.Streams.of_chain(seed, chain)
            words = np.random.SeedSequence(seed, spawn_key=(chain,)).generate_state(2, np.uint64)
            assert streams.key == tuple(words.tolist())
            for sweep in (0, 1, 2, 2**40):
                for purpose in module.Purpose:
                    state = streams.generator(sweep, purpose).bit_generator.state["state"]
                    assert state["key"].tolist() == words.tolist()
                    lowest, *upper = state["counter"].tolist()
                    assert lowest == 0
                    seen.add((*streams.key, *upper))
    assert len(seen) == 9 * 4 * 11
    assert {purpose.name: int(purpose) for purpose in module.Purpose} == {
        purpose.name: int(purpose) for purpose in Purpose
    }


CHECKS: dict[str, Callable[[str], None]] = {
    **ROW_CHECKS,
    **NORMALS_CHECKS,
    **HYPER_CHECKS,
    **MOVES_CHECKS,
    **EXTREME_CHECKS,
    **{
        f"rows of a side, {engine}, {name or 'usual'}": partial(
            check_draw_rows, engine, PATHS[name]
        )
        for engine in ENGINE_NAMES
        for name in ("", "mixed")
    },
    **{f"sweep, {name}": partial(check_sweep, name) for name in ENGINE_NAMES},
    "data": check_data,
    "streams": check_streams,
}
