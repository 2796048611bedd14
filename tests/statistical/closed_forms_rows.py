"""Row updates against a regression formula that shares no algebra with them, and by quadrature.

The code adds up precisions and takes a Cholesky factor of the sum. The reference moves mean and
covariance from rating to rating and inverts nothing but the prior: the Kalman filter of a state
that stands still (e.g. Bishop 2006, "Pattern Recognition and Machine Learning", section 13.3.1),

    g = S x / (x'S x + 1 / alpha),   m <- m + g (y - x'm),   S <- S - g x'S

An update is affine in its standard normals: with none (zeros) it gives the mean, and unit vectors
give the columns of a matrix A with A A' the covariance.

Every check takes the name of a package, so that altered copies can be held to the same.
"""

from __future__ import annotations

import importlib
import math
from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import integrate, stats

from bayesmf.ratings import Side

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 1e-9
ENGINE_NAMES = ("numba", "numpy")
DEGREES = (300, 0, 129, 1, 128, 7, 256, 8, 127, 9, 3)
"""Ratings of the rows: none, one, and all sides of a multiple of 8 and of 128, at which the kernel
pads and cuts; long rows first, so that what they leave in a buffer would show in the next."""
SHAPES = tuple((d, has_bias) for d in (1, 2, 3, 4, 5, 8, 33) for has_bias in (False, True))
"""Coordinates D and whether the last is a bias: all remainders of 4, and no factor but a bias."""
UNTOUCHED = -7.25


def part(package: str, name: str) -> Any:
    """Import a module of the package under test."""
    return importlib.import_module(f"{package}.{name}")


def assert_close(actual: Any, expected: Any, what: str) -> None:
    """Fail unless all numbers agree to 1e-9 of the largest that is expected."""
    size = float(np.abs(expected).max(initial=0.0)) or 1.0
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE * size, err_msg=what)


class RowWorld(NamedTuple):
    """One side's ratings and all that its rows are drawn given."""

    side: Side
    targets: np.ndarray
    partner_rows: np.ndarray
    has_bias: bool
    alpha: float
    mean: np.ndarray
    precision: np.ndarray

    def task(self, package: str, blocks: tuple[range, ...] = ()) -> Any:
        """Make the package's own description of it."""
        hyper = part(package, "gibbs.conditionals").Hyper(
            self.mean, self.precision, np.ones_like(self.mean)
        )
        data = part(package, "kernels.blocks").SideData(self.side, self.targets, blocks)
        return part(package, "gibbs.engines").RowTask(
            data, self.partner_rows, self.has_bias, self.alpha, hyper
        )

    def regression(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Regressors X (n, D) of one row and what they explain (n,), by the model's statement."""
        own = slice(self.side.indptr[row], self.side.indptr[row + 1])
        partners, y = self.partner_rows[self.side.partners[own]], self.targets[own]
        if not self.has_bias:
            return partners, y
        return np.column_stack([partners[:, :-1], np.ones(len(y))]), y - partners[:, -1]


@cache
def row_world(d: int, has_bias: bool, degrees: tuple[int, ...] = DEGREES) -> RowWorld:
    """Rows with these numbers of ratings, all numbers of order one."""
    rng = np.random.default_rng([d, has_bias, len(degrees)])
    n_partners = max(degrees) + 5
    indptr = np.concatenate([[0], np.cumsum(degrees)]).astype(np.int64)
    partners = np.concatenate([rng.permutation(n_partners)[:n] for n in degrees]).astype(np.int32)
    side = Side(indptr, partners, np.arange(len(partners)))
    root = rng.standard_normal((d, d + 3)) / np.sqrt(d)
    return RowWorld(
        side,
        rng.standard_normal(len(partners)) + 0.4,
        rng.standard_normal((n_partners, d)) / np.sqrt(d) + 0.1,
        has_bias,
        1.7,
        rng.standard_normal(d),
        root @ root.T + 0.3 * np.eye(d),
    )


def textbook_row(world: RowWorld, row: int, weight: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of one row by the Kalman filter, the prior's precision times weight."""
    mean, S = world.mean, np.linalg.inv(world.precision) / weight
    for x, y in zip(*world.regression(row), strict=True):
        gain = S @ x / (x @ S @ x + 1 / world.alpha)
        mean, S = mean + gain * (y - x @ mean), S - np.outer(gain, x @ S)
    return mean, S


@cache
def textbook_rows(d: int, has_bias: bool, weighted: bool = False) -> list[Any]:
    """Mean and covariance of each row; a weighed prior that a row lacks leaves None."""
    weights = DEGREES if weighted else [1.0] * len(DEGREES)
    world = row_world(d, has_bias)
    return [textbook_row(world, row, w) if w else None for row, w in enumerate(weights)]


def run_engine(
    package: str, engine: str, world: RowWorld, normals: np.ndarray, block: range | None = None
) -> np.ndarray:
    """Update the rows of a block (default all) into an array of UNTOUCHED."""
    block = block if block is not None else range(world.side.n_rows)
    out = np.full((world.side.n_rows, len(world.mean)), UNTOUCHED)
    engines = part(package, "gibbs.engines").ENGINES
    engines[engine].update(block, world.task(package), normals, out)
    return out


def run_kernel(package: str, world: RowWorld, normals: np.ndarray, weigh: bool) -> Any:
    """Update all rows by the kernel itself: the row that failed, and the rows."""
    out = np.full((world.side.n_rows, len(world.mean)), UNTOUCHED)
    failed = part(package, "kernels.rows").update_rows(
        0, len(out), world.side.indptr, world.side.partners, world.targets, world.partner_rows,
        world.has_bias, world.precision, world.precision @ world.mean, weigh, world.alpha,
        normals, out,
    )  # fmt: skip
    return failed, out


def affine_map(
    update: Callable[[np.ndarray], np.ndarray], n: int, d: int
) -> tuple[np.ndarray, np.ndarray]:
    """Means (n, D) of an update that is affine in its normals (n, D), and matrices A (n, D, D)."""
    mean = update(np.zeros((n, d)))
    columns = [update(np.tile(unit, (n, 1))) - mean for unit in np.eye(d)]
    return mean, np.stack(columns, axis=2)


def check_row_conditional(package: str) -> None:
    for d, has_bias in SHAPES:
        world = row_world(d, has_bias)
        for row, (mean, covariance) in enumerate(textbook_rows(d, has_bias)):
            own = slice(world.side.indptr[row], world.side.indptr[row + 1])
            partners = world.partner_rows[world.side.partners[own]]
            before = partners.copy()
            found, precision = part(package, "gibbs.conditionals").row_conditional(
                partners, world.targets[own], has_bias, world.alpha, world.mean, world.precision
            )
            case = f"D={d}, biases={has_bias}, {DEGREES[row]} ratings"
            assert_close(found, mean, case)
            assert_close(np.linalg.inv(precision), covariance, case)
            np.testing.assert_array_equal(partners, before, f"{case}: an argument was changed")


def check_engine_moments(engine: str, package: str) -> None:
    for d, has_bias in SHAPES:
        world = row_world(d, has_bias)
        means, maps = affine_map(partial(run_engine, package, engine, world), world.side.n_rows, d)
        for row, (mean, covariance) in enumerate(textbook_rows(d, has_bias)):
            case = f"D={d}, biases={has_bias}, {DEGREES[row]} ratings"
            assert_close(means[row], mean, case)
            assert_close(maps[row] @ maps[row].T, covariance, case)


def check_engine_blocks(engine: str, package: str) -> None:
    """Each row has its own normals, whatever the block; nothing else is read or written."""
    for d, has_bias in SHAPES:
        world, case = row_world(d, has_bias), f"D={d}, biases={has_bias}"
        n = world.side.n_rows
        update = partial(run_engine, package, engine, world)
        means, maps = affine_map(update, n, d)
        normals = np.random.default_rng(d).standard_normal((n, d))
        before = normals.copy()
        together = update(normals)
        np.testing.assert_array_equal(normals, before, f"{case}: the normals were changed")
        assert_close(together, means + np.einsum("nab,nb->na", maps, normals), case)
        for block in (range(4, 9), *(range(row, row + 1) for row in range(n))):
            found = update(normals[block.start : block.stop], block)
            expected = np.full((n, d), UNTOUCHED)
            expected[block.start : block.stop] = together[block.start : block.stop]
            np.testing.assert_array_equal(found, expected, f"{case}, {block}: not the same bits")


def check_kernel_paths(package: str) -> None:
    """Without normals the kernel gives the mean; a weighed prior counts a row's ratings."""
    for (d, has_bias), weigh in [(shape, weigh) for shape in SHAPES for weigh in (False, True)]:
        world = row_world(d, has_bias)
        means, maps = affine_map(
            lambda z, world=world, weigh=weigh: run_kernel(package, world, z, weigh)[1],
            world.side.n_rows,
            d,
        )
        failed, solved = run_kernel(package, world, np.empty((0, d)), weigh)
        # A row without ratings has no weighed prior either, and nothing to be solved.
        assert failed == (DEGREES.index(0) if weigh else -1)
        for row, expected in enumerate(textbook_rows(d, has_bias, weigh)):
            case = f"D={d}, biases={has_bias}, weigh_prior={weigh}, {DEGREES[row]} ratings"
            if expected is None:
                np.testing.assert_array_equal(solved[row], UNTOUCHED, case)
                continue
            assert_close(solved[row], expected[0], case)
            assert_close(means[row], expected[0], case)
            assert_close(maps[row] @ maps[row].T, expected[1], case)


def check_singular_rows(package: str) -> None:
    """The first row that cannot be solved is named; it is left alone and all others are solved."""
    world = row_world(3, False, (5, 1, 4, 2, 3))._replace(precision=np.zeros((3, 3)))
    failed, out = run_kernel(package, world, np.empty((0, 3)), False)
    assert failed == 1
    for row, n in enumerate((5, 1, 4, 2, 3)):
        least_squares = np.linalg.lstsq(*world.regression(row))[0]
        assert_close(out[row], least_squares if n >= 3 else np.full(3, UNTOUCHED), f"row {row}")
    try:
        run_engine(package, "numba", world, np.zeros((5, 3)))
    except np.linalg.LinAlgError as error:
        assert "row 1" in str(error)  # noqa: PT017 - pytest.raises fails with no AssertionError
    else:
        raise AssertionError("a singular row was drawn")


def check_bias_shrinkage(package: str) -> None:
    """A bias alone is a shrunken mean: by scalar algebra, and by quadrature of its density."""
    world = row_world(1, True)
    prior_precision, prior_mean = float(world.precision[0, 0]), float(world.mean[0])
    for engine in ENGINE_NAMES:
        means, maps = affine_map(partial(run_engine, package, engine, world), world.side.n_rows, 1)
        for row, n in enumerate(DEGREES):
            own = range(world.side.indptr[row], world.side.indptr[row + 1])
            left = [world.targets[t] - world.partner_rows[world.side.partners[t], 0] for t in own]
            weight = n * world.alpha / (n * world.alpha + prior_precision)
            shrunken = prior_mean + weight * (math.fsum(left) / max(n, 1) - prior_mean)
            assert_close(means[row, 0], shrunken, f"{engine}, {n} ratings")
            variance = 1 / (n * world.alpha + prior_precision)
            assert_close(maps[row, 0, 0] ** 2, variance, f"{engine}, {n} ratings")
            if n <= 9:
                centre, spread = _bias_moments(world, np.array(left))
                assert_close(means[row, 0], centre, f"{engine}, {n} ratings, quadrature")
                assert_close(maps[row, 0, 0] ** 2, spread, f"{engine}, {n} ratings, quadrature")


def _bias_moments(world: RowWorld, left: np.ndarray) -> tuple[float, float]:
    def density(b: float) -> float:
        # exp(n / 2) keeps the density of many ratings at order one.
        deviance = float(world.precision[0, 0] * (b - world.mean[0]) ** 2)
        deviance += world.alpha * float(((left - b) ** 2).sum())
        return math.exp((len(left) - deviance) / 2)

    def integral(power: int, centre: float) -> float:
        return integrate.quad(
            lambda b: (b - centre) ** power * density(b),
            -12, 12, points=[0], limit=400, epsabs=0, epsrel=1e-12,
        )[0]  # fmt: skip

    total = integral(0, 0.0)
    mean = integral(1, 0.0) / total
    return mean, integral(2, mean) / total


def check_row_quadrature(package: str) -> None:
    """Two coordinates, by the trapezoid rule on the log joint of ratings and row.

    On a Gaussian its error is of order exp(-2 pi^2 sd^2 / step^2) (Trefethen & Weideman 2014).
    """
    grid = np.arange(-8, 8, 0.08)
    points = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    for has_bias in (False, True):
        world = row_world(2, has_bias, (5, 2))
        for row in range(2):
            log_joint = stats.multivariate_normal.logpdf(
                points, world.mean, np.linalg.inv(world.precision)
            )
            for t in range(world.side.indptr[row], world.side.indptr[row + 1]):
                v = world.partner_rows[world.side.partners[t]]
                fit = points[:, 0] * v[0] + (
                    points[:, 1] + v[1] if has_bias else points[:, 1] * v[1]
                )
                log_joint += stats.norm.logpdf(world.targets[t], fit, world.alpha**-0.5)
            weights = np.exp(log_joint - log_joint.max())
            weights /= weights.sum()
            mean = weights @ points
            covariance = (weights[:, None] * (points - mean)).T @ (points - mean)
            for engine in ENGINE_NAMES:
                case = f"{engine}, biases={has_bias}, row {row}"
                means, maps = affine_map(partial(run_engine, package, engine, world), 2, 2)
                assert_close(means[row], mean, case)
                assert_close(maps[row] @ maps[row].T, covariance, case)


ROW_CHECKS: dict[str, Callable[[str], None]] = {
    "row conditional": check_row_conditional,
    **{f"row update, {name}": partial(check_engine_moments, name) for name in ENGINE_NAMES},
    **{f"rows of a block, {name}": partial(check_engine_blocks, name) for name in ENGINE_NAMES},
    "row kernel without normals, with a weighed prior": check_kernel_paths,
    "row kernel, singular rows": check_singular_rows,
    "bias alone": check_bias_shrinkage,
    "row of two coordinates by quadrature": check_row_quadrature,
}
