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
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy import integrate, stats

from bayesmf.ratings import Side
from tests.statistical.paths import DEGREES, PATHS, Path, path_forced

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 1e-9
ENGINE_NAMES = ("numba", "numpy")
SHAPES = tuple(
    (d, has_bias) for d in (1, 2, 3, 4, 5, 7, 8, 11, 14, 33) for has_bias in (False, True)
)
"""Coordinates D and whether the last is a bias: no factor but a bias, one block of a Cholesky
factor and several, and last blocks that are whole, nearly whole, and a single row."""
LARGE_SHAPES = ((65, True), (129, False))
"""Many panels, and every way to go through the vectors of a row; for the engines to agree on."""
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

    def data(self, package: str, path: Path = PATHS[""], dtype: str = "float64") -> Any:
        """Make the package's own index of it."""
        module = part(package, "kernels.blocks")
        with path_forced(module, path):
            return module.SideData.build(
                self.side, self.targets.astype(dtype), len(self.mean), len(self.partner_rows)
            )

    def task(self, package: str, path: Path = PATHS[""], dtype: str = "float64") -> Any:
        """Make the package's own description of it."""
        hyper = part(package, "gibbs.conditionals").Hyper(
            self.mean, self.precision, np.ones_like(self.mean)
        )
        return part(package, "gibbs.engines").RowTask(
            self.data(package, path, dtype),
            self.partner_rows.astype(dtype),
            self.has_bias,
            self.alpha,
            hyper,
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
    side = Side(indptr, partners)
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
def textbook_rows(
    d: int, has_bias: bool, degrees: tuple[int, ...] = DEGREES, weighted: bool = False
) -> list[Any]:
    """Mean and covariance of each row; a weighed prior that a row lacks leaves None."""
    weights = degrees if weighted else [1.0] * len(degrees)
    world = row_world(d, has_bias, degrees)
    return [textbook_row(world, row, w) if w else None for row, w in enumerate(weights)]


class Drawn(NamedTuple):
    """Rows drawn by an engine of a package: a function of their normals.

    Attributes
    ----------
    starts : ndarray, shape (n_rows + 1,)
        Where the normals of each row begin.
    """

    draw: Callable[[range, np.ndarray, np.ndarray], None]
    starts: np.ndarray
    shape: tuple[int, int]

    @classmethod
    def by(
        cls,
        package: str,
        engine: str,
        world: RowWorld,
        path: Path = PATHS[""],
        dtype: str = "float64",
    ) -> Drawn:
        """Prepare the engine's draw of a world's rows, on a path."""
        task = world.task(package, path, dtype)
        draw = part(package, "gibbs.engines").ENGINES[engine].drawer(task, None)
        return cls(draw, task.data.normal_starts, (world.side.n_rows, len(world.mean)))

    def __call__(self, normals: np.ndarray, block: range | None = None) -> np.ndarray:
        """Draw the rows of a block (default all) into an array of UNTOUCHED."""
        block = block if block is not None else range(self.shape[0])
        out = np.full(self.shape, UNTOUCHED, normals.dtype)
        self.draw(block, normals, out)
        return out

    def normals_of(self, block: range) -> slice:
        """Where the normals of a block stand."""
        return slice(self.starts[block.start], self.starts[block.stop])


def run_kernel(
    package: str, world: RowWorld, normals: np.ndarray, weigh: bool, path: Path = PATHS[""]
) -> Any:
    """Update all rows by the kernel itself: the row that failed, and the rows."""
    out = np.full((world.side.n_rows, len(world.mean)), UNTOUCHED)
    update = part(package, "kernels.updates").prepare(
        world.data(package, path), world.partner_rows, world.has_bias, world.alpha, world.mean,
        world.precision, None, weigh_prior=weigh, means_only=normals.size == 0,
    )  # fmt: skip
    return update.block(range(len(out)), normals, out), out


def affine_map(
    update: Callable[[np.ndarray], np.ndarray], starts: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Means (n, D) of an update that is affine in its normals, and matrices A (n, D, most).

    `starts` (n + 1,) say where each row's normals begin; `most` is the largest number of them.
    """
    counts = np.diff(starts)
    mean, columns = update(np.zeros(starts[-1])), []
    for k in range(counts.max()):
        unit = np.zeros(starts[-1])
        unit[starts[:-1][counts > k] + k] = 1.0
        columns.append(update(unit) - mean)
    return mean, np.stack(columns, axis=2)


def by_row(normals: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Give each row its normals, (n, most), filled up with zeros."""
    counts = np.diff(starts)
    out = np.zeros((len(counts), counts.max()))
    for row, own in enumerate(out):
        own[: counts[row]] = normals[starts[row] : starts[row + 1]]
    return out


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


def check_engine_moments(engine: str, path: Path, package: str) -> None:
    for d, has_bias in SHAPES:
        world = row_world(d, has_bias, path.degrees)
        drawn = Drawn.by(package, engine, world, path)
        means, maps = affine_map(drawn, drawn.starts)
        for row, (mean, covariance) in enumerate(textbook_rows(d, has_bias, path.degrees)):
            case = f"D={d}, biases={has_bias}, {path.degrees[row]} ratings"
            assert_close(means[row], mean, case)
            assert_close(maps[row] @ maps[row].T, covariance, case)


def check_engines_agree(path: Path, package: str) -> None:
    """The same normals give the same rows, whichever engine turns them into draws."""
    for d, has_bias in (*SHAPES, *LARGE_SHAPES):
        world = row_world(d, has_bias, path.degrees)
        compiled, reference = (
            Drawn.by(package, engine, world, path) for engine in ("numba", "numpy")
        )
        np.testing.assert_array_equal(compiled.starts, reference.starts)
        normals = np.random.default_rng(d).standard_normal(compiled.starts[-1])
        assert_close(compiled(normals), reference(normals), f"D={d}, biases={has_bias}")


def check_path_taken(package: str) -> None:
    """A row has a normal more for each rating exactly if it is drawn in the space of them."""
    for (d, has_bias), path in [(shape, path) for shape in SHAPES for path in PATHS.values()]:
        data = row_world(d, has_bias, path.degrees).data(package, path)
        degrees = np.array(path.degrees)
        extra = np.where(degrees <= path.low_share * d, degrees, 0)
        np.testing.assert_array_equal(np.diff(data.normal_starts), d + extra)
        heavy = {segment.row for segment in data.segments}
        assert heavy == set(np.flatnonzero(degrees > path.heavy).tolist())
        for row in heavy:
            own = [segment for segment in data.segments if segment.row == row]
            assert own[0].lo == data.side.indptr[row]
            assert own[-1].hi == data.side.indptr[row + 1]
            assert all(a.hi == b.lo for a, b in pairwise(own))
            assert max(segment.hi - segment.lo for segment in own) <= path.heavy
            assert len(own) > 1


def check_engine_blocks(engine: str, path: Path, package: str) -> None:
    """Each row has its own normals, whatever the block; nothing else is read or written."""
    for d, has_bias in SHAPES:
        world, case = row_world(d, has_bias, path.degrees), f"D={d}, biases={has_bias}"
        n = world.side.n_rows
        drawn = Drawn.by(package, engine, world, path)
        means, maps = affine_map(drawn, drawn.starts)
        normals = np.random.default_rng(d).standard_normal(drawn.starts[-1])
        before = normals.copy()
        together = drawn(normals)
        np.testing.assert_array_equal(normals, before, f"{case}: the normals were changed")
        from_maps = means + np.einsum("nab,nb->na", maps, by_row(normals, drawn.starts))
        assert_close(together, from_maps, case)
        for block in (range(4, 9), *(range(row, row + 1) for row in range(n))):
            found = drawn(normals[drawn.normals_of(block)], block)
            expected = np.full((n, d), UNTOUCHED)
            expected[block.start : block.stop] = together[block.start : block.stop]
            np.testing.assert_array_equal(found, expected, f"{case}, {block}: not the same bits")


def check_single_precision(path: Path, package: str) -> None:
    """In float32 the same rows, to what seven digits leave: 1e-4 of the largest number."""
    for d, has_bias in SHAPES:
        world = row_world(d, has_bias, path.degrees)
        exact, single = (
            Drawn.by(package, "numba", world, path, dtype) for dtype in ("float64", "float32")
        )
        np.testing.assert_array_equal(exact.starts, single.starts)
        normals = np.random.default_rng(d).standard_normal(exact.starts[-1])
        found, expected = single(normals.astype(np.float32)), exact(normals)
        assert found.dtype == np.float32
        size = np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * size, err_msg=f"D={d}")
        assert np.abs(found - expected).max() > 0 or d == 1


def check_kernel_paths(package: str) -> None:
    """Without normals the kernel gives the mean; a weighed prior counts a row's ratings."""
    for (d, has_bias), weigh in [(shape, weigh) for shape in SHAPES for weigh in (False, True)]:
        world = row_world(d, has_bias)
        means, maps = affine_map(
            lambda z, world=world, weigh=weigh: run_kernel(package, world, z, weigh)[1],
            np.arange(world.side.n_rows + 1) * d,
        )
        failed, solved = run_kernel(package, world, np.empty(0), weigh)
        # Without normals nothing is drawn in the space of ratings, whatever the path.
        for path in PATHS.values():
            if path.degrees == DEGREES:
                other = run_kernel(package, world, np.empty(0), weigh, path)
                assert other[0] == failed
                assert_close(other[1], solved, f"D={d}, biases={has_bias}, {path}")
        # A row without ratings has no weighed prior either, and nothing to be solved.
        assert failed == (DEGREES.index(0) if weigh else -1)
        for row, expected in enumerate(textbook_rows(d, has_bias, weighted=weigh)):
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
    failed, out = run_kernel(package, world, np.empty(0), False)
    assert failed == 1
    for row, n in enumerate((5, 1, 4, 2, 3)):
        least_squares = np.linalg.lstsq(*world.regression(row))[0]
        assert_close(out[row], least_squares if n >= 3 else np.full(3, UNTOUCHED), f"row {row}")
    try:
        Drawn.by(package, "numba", world)(np.zeros(15))
    except np.linalg.LinAlgError as error:
        assert "row 1" in str(error)  # noqa: PT017 - pytest.raises fails with no AssertionError
    else:
        raise AssertionError("a singular row was drawn")


def check_bias_shrinkage(package: str) -> None:
    """A bias alone is a shrunken mean: by scalar algebra, and by quadrature of its density."""
    world = row_world(1, True)
    prior_precision, prior_mean = float(world.precision[0, 0]), float(world.mean[0])
    for engine in ENGINE_NAMES:
        drawn = Drawn.by(package, engine, world)
        means, maps = affine_map(drawn, drawn.starts)
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
                drawn = Drawn.by(package, engine, world)
                means, maps = affine_map(drawn, drawn.starts)
                assert_close(means[row], mean, case)
                assert_close(maps[row] @ maps[row].T, covariance, case)


def _name(what: str, *parts: str) -> str:
    return ", ".join([what, *(part for part in parts if part)])


ROW_CHECKS: dict[str, Callable[[str], None]] = {
    "row conditional": check_row_conditional,
    **{
        _name("row update", engine, name): partial(check_engine_moments, engine, path)
        for engine in ENGINE_NAMES
        for name, path in PATHS.items()
        # To NumPy a heavy row is a row like others.
        if engine == "numba" or not (name and path.degrees == DEGREES)
    },
    **{
        _name("rows of a block", engine, name): partial(check_engine_blocks, engine, path)
        for engine in ENGINE_NAMES
        for name, path in PATHS.items()
        if engine == "numba" or name == "mixed"
    },
    **{
        _name("engines agree", name): partial(check_engines_agree, path)
        for name, path in PATHS.items()
    },
    **{
        _name("single precision", name): partial(check_single_precision, path)
        for name, path in PATHS.items()
    },
    "which way a row is drawn": check_path_taken,
    "row kernel without normals, with a weighed prior": check_kernel_paths,
    "row kernel, singular rows": check_singular_rows,
    "bias alone": check_bias_shrinkage,
    "row of two coordinates by quadrature": check_row_quadrature,
}
