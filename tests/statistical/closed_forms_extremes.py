"""Sums in exact rational arithmetic, and well-posed problems of extreme size.

Where doubles can hold the answer it must be there: rows far from zero and close together, partners
of 1e25, ratings of 1e150, noise of precision 1e-300, coordinates of different units. The reference
is the same problem at order one, by what a change of units does to it,

    X -> X diag(a),  y -> c y,  alpha -> alpha / c^2,  u -> diag(c / a) u,

or the sum in fractions, which have no rounding.
"""

from __future__ import annotations

from fractions import Fraction
from functools import cache, partial
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np

from tests.statistical.closed_forms_hyper import hyper_of, precision_matrix, script, side_prior
from tests.statistical.closed_forms_rows import (
    ENGINE_NAMES,
    SHAPES,
    Drawn,
    RowWorld,
    affine_map,
    assert_close,
    part,
    row_world,
    run_kernel,
    textbook_rows,
)
from tests.statistical.paths import PATHS, Path

if TYPE_CHECKING:
    from collections.abc import Callable


def exact(numbers: np.ndarray) -> np.ndarray:
    """Turn floats into fractions."""
    return np.array([Fraction(float(x)) for x in numbers.ravel()]).reshape(numbers.shape)


@cache
def moments_case(d: int, n: int, centre: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows around a centre, and their mean and centred scatter without rounding until the end."""
    rows = np.random.default_rng([d, n]).standard_normal((n, d)) + centre
    fractions = exact(rows)
    mean = fractions.sum(axis=0) / n
    centred = fractions - mean
    return rows, mean.astype(float), (centred.T @ centred).astype(float)


def exact_residuals(world: RowWorld, rows: np.ndarray) -> np.ndarray:
    """Residuals of all ratings in the order of the side, by the model's statement, in fractions."""
    left, right, targets = exact(rows), exact(world.partner_rows), exact(world.targets)
    found = []
    for row in range(world.side.n_rows):
        for t in range(world.side.indptr[row], world.side.indptr[row + 1]):
            u, v = left[row], right[world.side.partners[t]]
            products = [a * b for a, b in zip(u, v, strict=True)]
            if world.has_bias:
                products[-1] = u[-1] + v[-1]
            found.append(targets[t] - sum(products))
    return np.array(found)


def dyadic(rng: np.random.Generator, shape: tuple[int, ...], centre: float = 0.0) -> np.ndarray:
    """Draw numbers of few bits, so that float64 rounds neither them nor their products."""
    return centre + rng.integers(-40, 41, shape) / 16


def check_moments(package: str) -> None:
    """One row, many rows, many coordinates, and rows that share all but their last digits."""
    engines = part(package, "gibbs.engines")
    cases = ((1, 1, 0.0), (4, 3, 2.0), (33, 40, 1.0), (3, 300, 1e8), (2, 200, -1e8))
    # A part's mean at 1e8 is rounded: there, all rows are one part.
    split = [(case, 7) for case in cases if abs(case[2]) < 10]
    for (d, n, centre), chunk in [*((case, 4096) for case in cases), *split]:
        rows, expected_mean, expected_scatter = moments_case(d, n, centre)
        with mock.patch.object(engines, "ROWS_PER_CHUNK", chunk):
            mean, scatter = engines.ENGINES["numpy"].moments(rows.copy())
        case = f"D={d}, n={n}, at {centre:g}, by {chunk}"
        np.testing.assert_allclose(mean, expected_mean, rtol=1e-13, err_msg=f"mean, {case}")
        assert_close(scatter, expected_scatter, f"scatter, {case}")


def check_error(engine: str, package: str) -> None:
    """Residuals and their squares of each block and of all, at order one and at 1e6 + small."""
    engines, conditionals = part(package, "gibbs.engines"), part(package, "gibbs.conditionals")
    degrees, blocks = (9, 0, 1, 30, 2, 8), (range(2), range(2, 3), range(3, 6))
    for d, has_bias in SHAPES:
        rng = np.random.default_rng([d, has_bias])
        for size in (0.0, 2.0**20):
            world = row_world(d, has_bias, degrees)
            rows = dyadic(rng, (len(degrees), d))
            partners = dyadic(rng, world.partner_rows.shape)
            if has_bias:  # biases that the ratings hold too
                rows[:, -1] += size
            world = world._replace(
                partner_rows=partners,
                targets=dyadic(rng, world.targets.shape, size if has_bias else 0.0),
            )
            data = world.data(package)._replace(blocks=blocks)
            of = engines.Residuals(data, rows, partners, has_bias)
            residuals = exact_residuals(world, rows)
            case = f"D={d}, biases={has_bias}, {size:g}"
            for block in blocks:
                own = residuals[world.side.indptr[block.start] : world.side.indptr[block.stop]]
                found = conditionals.residuals(
                    block, world.side, world.targets, rows, partners, has_bias
                )
                assert_close(found, own.astype(float), f"{case}, {block}")
                (error,) = engines.ENGINES[engine].errors(of)([block])
                assert_close(error, float((own**2).sum()), f"{case}, {block}")
            total = engines.ENGINES[engine].squared_error(of)
            assert_close(total, float((residuals**2).sum()), f"{case}, all blocks")


def rescaled(world: RowWorld, a: np.ndarray, c: float) -> RowWorld:
    """Change the units of the ratings by c and those of the partners' coordinates by a."""
    units = c / a
    partner_rows = world.partner_rows * a
    if world.has_bias:
        assert a[-1] == 1.0
        partner_rows[:, -1] = world.partner_rows[:, -1] * c
    return world._replace(
        targets=world.targets * c,
        partner_rows=partner_rows,
        alpha=world.alpha / c / c,
        mean=world.mean * units,
        precision=world.precision / units[:, None] / units,
    )


UNITS: tuple[tuple[float | tuple[float, ...], float], ...] = (
    (1e25, 1e25),
    (1e-25, 1e-25),
    (1.0, 1e30),
    (1.0, 1e150),
    (1.0, 1e-150),
    (1e-30, 1.0),
    ((1e-8, 1.0, 1e8, 1.0), 1.0),
    ((1e12, 1e-12, 1e12, 1.0), 1e6),
)
"""Units of the partners' factors (the bias, if last, keeps 1) and of the ratings."""


def check_row_extremes(engine: str, path: Path, package: str) -> None:
    d = 4
    for has_bias in (False, True):
        for factors, c in UNITS:
            a = np.ones(d)
            a[: d - has_bias] = np.broadcast_to(factors, d)[: d - has_bias]
            world = rescaled(row_world(d, has_bias, path.degrees), a, c)
            drawn = Drawn.by(package, engine, world, path)
            means, maps = affine_map(drawn, drawn.starts)
            back = a / c
            for row, (mean, covariance) in enumerate(textbook_rows(d, has_bias, path.degrees)):
                case = f"biases={has_bias}, units {factors} and {c:g}, row {row}"
                assert_close(means[row] * back, mean, case)
                half = maps[row] * back[:, None]
                assert_close(half @ half.T, covariance, case)
        world = row_world(d, has_bias, path.degrees)._replace(alpha=1e-300)
        drawn = Drawn.by(package, engine, world, path)
        means, maps = affine_map(drawn, drawn.starts)
        for row in range(world.side.n_rows):
            assert_close(means[row], world.mean, "alpha 1e-300 leaves the prior")
            assert_close(
                maps[row] @ maps[row].T, np.linalg.inv(world.precision), "alpha 1e-300, covariance"
            )


def check_kernel_extremes(package: str) -> None:
    """The ridge solution, with an unweighed and a weighed prior."""
    d = 4
    for weigh in (False, True):
        for has_bias in (False, True):
            expected = textbook_rows(d, has_bias, weighted=weigh)
            for factors, c in UNITS:
                a = np.ones(d)
                a[: d - has_bias] = np.broadcast_to(factors, d)[: d - has_bias]
                world = rescaled(row_world(d, has_bias), a, c)
                _, solved = run_kernel(package, world, np.empty(0), weigh)
                for row, moments in enumerate(expected):
                    if moments is not None:
                        case = f"weigh={weigh}, biases={has_bias}, units {factors} and {c:g}"
                        assert_close(solved[row] * a / c, moments[0], f"{case}, row {row}")


def check_hyper_extremes(package: str) -> None:
    """Rows and prior mean far from zero, prior strengths of different sizes: in fractions."""
    n, d, centre = 512, 3, 1e8
    rng = np.random.default_rng(9)
    prior = side_prior(d)._replace(mu0=centre + np.array([0.5, 0.0, -1.25]), beta0=2.0)
    for spread in (1.0, 2.0**-12):
        rows, strength = centre + dyadic(rng, (n, d)) * spread, np.array([1e-6, 1.0, 1e6])
        fractions, mu0 = exact(rows), exact(prior.mu0)
        mean = (2 * mu0 + fractions.sum(axis=0)) / (2 + n)
        centred, shift = fractions - mean, mu0 - mean
        scatter = centred.T @ centred + 2 * np.outer(shift, shift)
        expected = (np.diag(exact(strength)) + scatter).astype(float)
        for engine in ENGINE_NAMES:
            found = hyper_of(package, engine, rows, prior, strength)
            np.testing.assert_allclose(found.mean, mean.astype(float), rtol=1e-13)
            size = np.sqrt(np.diag(expected))
            assert_close(
                found.inverse_scale / size[:, None] / size,
                expected / size[:, None] / size,
                f"{engine}, spread {spread:g}",
            )


def check_draw_extremes(package: str) -> None:
    """Units of coordinates change a draw of (mu, Lambda) by those units alone."""
    module = part(package, "gibbs.conditionals")
    d, rng = 3, np.random.default_rng(12)
    base, squares = precision_matrix(d, rng), rng.chisquare(5.0, d)
    normals, z = rng.standard_normal((d, d)), rng.standard_normal(d)

    def draw(units: np.ndarray) -> Any:
        inverse_scale = base * units[:, None] * units
        given = module.NormalWishartParameters(np.zeros(d), 3.0, inverse_scale, 7.5)
        return module.draw_hyper_given(given, script([normals, z], squares))

    mean, precision = draw(np.ones(d))
    for units in ([1e-30] * 3, [1e30] * 3, [1e-20, 1.0, 1e20], [1e20, 1.0, 1e-20], [1, 1e60, 1]):
        sizes = np.array(units)
        found_mean, found_precision = draw(sizes)
        assert_close(found_mean / sizes, mean, f"mu in units {units}")
        assert_close(found_precision * sizes[:, None] * sizes, precision, f"Lambda, {units}")


EXTREME_CHECKS: dict[str, Callable[[str], None]] = {
    "moments": check_moments,
    **{f"squared error, {name}": partial(check_error, name) for name in ENGINE_NAMES},
    **{
        f"rows in extreme units, {engine}, {name or 'usual'}": partial(
            check_row_extremes, engine, PATHS[name]
        )
        for engine in ENGINE_NAMES
        for name in ("", "in the space of ratings")
    },
    "ridge rows in extreme units": check_kernel_extremes,
    "hyperparameters of rows far from zero": check_hyper_extremes,
    "Normal-Wishart draw in extreme units": check_draw_extremes,
}
