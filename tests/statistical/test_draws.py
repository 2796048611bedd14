"""Every draw against the law that it is stated to have, each test held to the suite's rate.

A test looks at several statistics whose laws are known exactly, by Kolmogorov-Smirnov (KS), and at
pairs that are independent, by the correlation of their normal scores; its p-values together must
pass `assert_plausible`. With n draws and m statistics it finds with near certainty

    a distribution function that is off by (sqrt(log(2 m / rate) / 2) + 1.5) / sqrt(n) somewhere,
    a correlation of (z + 3) / sqrt(n), where z is the Gaussian's quantile of rate / 2 m,

that is 0.055 and 0.1 for n = 6,000 and m = 20. For a Gaussian that is a shift by 0.14 standard
deviations or a standard deviation that is wrong by 20%; for a chi-squared with 5 degrees of freedom
0.4 of a degree more or less. Smaller faults are for closed_forms.py to find, to 1e-9.
"""

from itertools import combinations

import numpy as np
import pytest
from scipy import special, stats

from bayesmf.gibbs import conditionals
from bayesmf.gibbs.conditionals import Hyper, NormalWishartParameters
from bayesmf.gibbs.engines import ENGINES
from bayesmf.kernels.streams import Purpose, Streams
from bayesmf.model import GammaPrior
from tests.statistical.closed_forms_hyper import precision_matrix, side_prior
from tests.statistical.closed_forms_rows import row_world, textbook_row
from tests.statistical.paths import PATHS
from tests.statistical.rates import assert_plausible
from tests.statistical.uniformity import mean_p_value

CASES = [(1, 0.6), (1, 3.0), (2, 1.5), (2, 7.3), (3, 2.4), (3, 12.0), (4, 3.3), (4, 9.5)]
"""D and degrees of freedom: whole and not, and some that exceed D - 1 by less than one."""


def ks(values, law) -> float:
    return float(stats.kstest(np.asarray(values), law.cdf).pvalue)


def normal_scores(values) -> np.ndarray:
    """Values by rank as Gaussian scores, so that the correlation of any two has one law."""
    return special.ndtri((stats.rankdata(values) - 0.5) / len(values))


def uncorrelated(a, b) -> float:
    """p-value of no correlation of normal scores: Student's t, as for Gaussian pairs."""
    return float(stats.pearsonr(normal_scores(a), normal_scores(b)).pvalue)


def cholesky_of_squares(roots: np.ndarray) -> np.ndarray:
    """Lower Cholesky factors (n, D, D) of B B' with positive diagonals, without forming B B'."""
    lower = np.linalg.qr(roots.swapaxes(1, 2), mode="r").swapaxes(1, 2)
    return lower * np.sign(np.einsum("ndd->nd", lower))[:, None, :]


def wishart_roots(d: int, dof: float, n: int):
    rng = np.random.default_rng([d, int(100 * dof)])
    inverse_scale = precision_matrix(d, rng)
    roots = [conditionals.draw_wishart_root(inverse_scale, dof, rng) for _ in range(n)]
    return inverse_scale, np.array(roots), rng


@pytest.mark.parametrize(("d", "dof"), CASES)
def test_wishart_law(d, dof):
    """The whole law, in directions that the code does not know.

    Whitened by W and turned by any orthogonal Q, a Wishart draw is Wishart(I, dof); its Cholesky
    factor has independent entries, Gaussian below the diagonal and with chi-squared squares of
    dof - k on it (Bartlett 1933). All entries and all their correlations are looked at.
    """
    inverse_scale, roots, rng = wishart_roots(d, dof, 6000)
    Q = np.linalg.qr(rng.standard_normal((d, d)))[0]
    lower = cholesky_of_squares(Q @ np.linalg.cholesky(inverse_scale).T @ roots)
    entries, found = {}, {}
    for a in range(d):
        for b in range(a + 1):
            entries[a, b] = lower[:, a, b] ** 2 if a == b else lower[:, a, b]
            law = stats.chi2(dof - a) if a == b else stats.norm()
            found[f"entry {a, b}"] = ks(entries[a, b], law)
    for one, other in combinations(entries, 2):
        found[f"correlation of {one} and {other}"] = uncorrelated(entries[one], entries[other])
        if one[0] != one[1] and other[0] != other[1]:
            found[f"correlation of squares of {one} and {other}"] = uncorrelated(
                entries[one] ** 2, entries[other] ** 2
            )
    assert_plausible(found)


@pytest.mark.parametrize(("d", "dof"), CASES)
def test_wishart_margins(d, dof):
    """Quadratic forms of Lambda and of its inverse, correlations, determinant (Anderson 2003,
    "An introduction to multivariate statistical analysis", chapters 4 and 7)."""
    inverse_scale, roots, rng = wishart_roots(d, dof, 6000)
    W, found = np.linalg.inv(inverse_scale), {}
    for k, a in enumerate([*np.eye(d), *rng.standard_normal((2, d))]):
        ratio = ((a @ roots) ** 2).sum(axis=1) / (a @ W @ a)
        found[f"a'La / a'Wa, a{k}"] = ks(ratio, stats.chi2(dof))
        of_inverse = (np.linalg.solve(roots, np.tile(a, (len(roots), 1))[..., None]) ** 2).sum(
            axis=(1, 2)
        )
        inverted = (a @ inverse_scale @ a) / of_inverse
        found[f"a'W^-1a / a'L^-1a, a{k}"] = ks(inverted, stats.chi2(dof - d + 1))
    log_det = 2 * np.linalg.slogdet(roots)[1] - np.linalg.slogdet(W)[1]
    reference = np.log(np.random.default_rng(1).chisquare(dof - np.arange(d), (200_000, d)))
    found["log det"] = float(stats.ks_2samp(log_det, reference.sum(axis=1)).pvalue)
    half = (dof - np.arange(d)) / 2
    shift = log_det.mean() - (special.digamma(half) + np.log(2)).sum()
    spread = np.sqrt(special.polygamma(1, half).sum() / len(log_det))
    found["mean of log det"] = float(2 * stats.norm.sf(abs(shift) / spread))
    for i, j in combinations(range(d), 2):
        # The correlation of two whitened directions: t with dof - 1 (theorem 4.2.1, dof for n).
        pair = cholesky_of_squares((np.linalg.cholesky(inverse_scale).T @ roots)[:, [i, j]])
        t = pair[:, 1, 0] / pair[:, 1, 1] * np.sqrt(dof - 1)
        found[f"correlation {i, j}"] = ks(t, stats.t(dof - 1))
    assert_plausible(found)


@pytest.mark.parametrize(("d", "dof"), [(1, 6.5), (2, 9.0), (3, 11.5), (4, 25.0)])
def test_wishart_moments(d, dof):
    """E L_ij = dof W_ij and Cov(L_ij, L_kl) = dof (W_ik W_jl + W_il W_jk).

    Products of Wishart entries are skewed, which `mean_p_value` takes out of the test of a mean.
    A mean is found wrong by 6% and a (co)variance by 15% of the textbook's.
    """
    inverse_scale, roots, _ = wishart_roots(d, dof, 15_000)
    W = np.linalg.inv(inverse_scale)
    draws = roots @ roots.swapaxes(1, 2)
    pairs = [(i, j) for i in range(d) for j in range(i + 1)]
    excess = {(i, j): draws[:, i, j] - dof * W[i, j] for i, j in pairs}
    found = {}
    for (i, j), e in excess.items():
        found[f"mean {i, j}"] = mean_p_value(e, 0.0)
    for at, (i, j) in enumerate(pairs):
        for k, m in pairs[: at + 1]:
            expected = dof * (W[i, k] * W[j, m] + W[i, m] * W[j, k])
            product = excess[i, j] * excess[k, m]
            found[f"covariance {i, j}, {k, m}"] = mean_p_value(product, expected)
    assert_plausible(found)


@pytest.mark.parametrize(("d", "dof"), [(1, 1.4), (2, 2.5), (3, 8.5), (4, 5.0)])
def test_normal_wishart_law(d, dof):
    """mu alone is Student's t; given Lambda it is Gaussian, and whitened it knows nothing of it.

    With q = dof - D + 1 the law of mu is t with q degrees of freedom, centre m and scale
    W^-1 / (beta q) (DeGroot 1970, section 9.11): its margins are t and its distance is F.
    """
    rng = np.random.default_rng([d, 77])
    given = NormalWishartParameters(rng.standard_normal(d), 2.6, precision_matrix(d, rng), dof)
    n, q = 6000, dof - d + 1
    draws = [conditionals.draw_hyper_given(given, rng) for _ in range(n)]
    shift = np.array([mu for mu, _ in draws]) - given.mean
    precision = np.array([matrix for _, matrix in draws])
    scale = given.inverse_scale / (given.beta * q)
    distance = np.einsum("na,na->n", shift, np.linalg.solve(scale, shift.T).T) / d
    found = {"distance of mu": ks(distance, stats.f(d, q))}
    for k, a in enumerate([*np.eye(d), rng.standard_normal(d)]):
        found[f"margin {k} of mu"] = ks(shift @ a / np.sqrt(a @ scale @ a), stats.t(q))
    roots = np.linalg.cholesky(precision)
    whitened = np.sqrt(given.beta) * np.einsum("nab,na->nb", roots, shift)
    square = (whitened**2).sum(axis=1)
    found["whitened distance"] = ks(square, stats.chi2(d))
    log_det = np.linalg.slogdet(precision)[1]
    found["distance and log det"] = uncorrelated(square, log_det)
    for k in range(d):
        found[f"whitened {k}"] = ks(whitened[:, k], stats.norm())
        found[f"whitened {k} and log det"] = uncorrelated(whitened[:, k], log_det)
        found[f"distance and Lambda {k}"] = uncorrelated(square, precision[:, k, k])
    for j, k in combinations(range(d), 2):
        found[f"whitened {j} and {k}"] = uncorrelated(whitened[:, j], whitened[:, k])
    assert_plausible(found)


def test_strength_and_alpha_laws():
    """w given the current Lambda and alpha given the residuals are Gamma; Lambda is given the w
    that was drawn with it, and mu given that Lambda."""
    d, rows_n, n, rng = 3, 5, 6000, np.random.default_rng(6)
    prior, rows = side_prior(d), rng.standard_normal((rows_n, d))
    current = Hyper(np.zeros(d), precision_matrix(d, rng), np.ones(d))
    moments = conditionals.moments(rows)
    draws = [conditionals.draw_hyper(moments, rows_n, current, prior, rng) for _ in range(n)]
    strength = np.array([draw.strength for draw in draws])
    found = {}
    for k in range(d):
        rate = prior.rate[k] + current.precision[k, k] / 2
        law = stats.gamma(prior.shape[k] + prior.dof / 2, scale=1 / rate)
        found[f"w_{k}"] = ks(strength[:, k], law)
    for j, k in combinations(range(d), 2):
        found[f"w_{j} and w_{k}"] = uncorrelated(strength[:, j], strength[:, k])
    # The inverse scale is diag(w) and what the rows and the prior mean add, by uncentred sums.
    beta = prior.beta0 + rows_n
    mean = (prior.beta0 * prior.mu0 + rows.sum(axis=0)) / beta
    added = rows.T @ rows + prior.beta0 * np.outer(prior.mu0, prior.mu0)
    added -= beta * np.outer(mean, mean)
    a = rng.standard_normal(d)
    scales = np.linalg.inv(added + strength[:, :, None] * np.eye(d))
    ratio = np.array([a @ draw.precision @ a for draw in draws]) / np.einsum(
        "a,nab,b->n", a, scales, a
    )
    found["a'La / a'Wa given w"] = ks(ratio, stats.chi2(prior.dof + rows_n))
    shift = np.array([draw.mean for draw in draws]) - mean
    lower = np.linalg.cholesky([draw.precision for draw in draws])
    whitened = np.sqrt(beta) * np.einsum("nab,na->nb", lower, shift)
    found["mu given Lambda"] = ks((whitened**2).sum(axis=1), stats.chi2(d))
    for k in range(d):
        found[f"w_{k} and Lambda given w"] = uncorrelated(strength[:, k], ratio)
        found[f"mu_{k} given Lambda"] = ks(whitened[:, k], stats.norm())
    alphas = [conditionals.draw_alpha(7.0, 20, GammaPrior(1.7, 0.6), rng) for _ in range(n)]
    found["alpha"] = ks(alphas, stats.gamma(1.7 + 10, scale=1 / (0.6 + 3.5)))
    assert_plausible(found)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("d", "has_bias"), [(1, True), (2, False), (3, True)])
@pytest.mark.parametrize("path", ["", "mixed"])
def test_row_laws(engine, d, has_bias, path):
    """Rows drawn in real streams, by blocks and sweeps, are Gaussian with the textbook's moments
    and independent between rows, coordinates and sweeps."""
    world, sweeps = row_world(d, has_bias, (20, 0, 1, 140, 4)), 4000
    task = world.task("bayesmf", PATHS[path])
    blocks = (range(2), range(2, 3), range(3, 5))
    task = task._replace(data=task.data._replace(blocks=blocks))
    streams = Streams.of_chain(8, 1)
    draws = np.array(
        [
            ENGINES[engine].draw_rows(task, streams, sweep, Purpose.ITEM_ROWS)
            for sweep in range(1, sweeps + 1)
        ]
    )
    found, columns = {}, []
    for row in range(5):
        mean, covariance = textbook_row(world, row)
        # Whitened by the symmetric root, which is none of the code's triangles.
        values, vectors = np.linalg.eigh(covariance)
        whitened = (draws[:, row] - mean) @ vectors / np.sqrt(values) @ vectors.T
        found[f"row {row}, distance"] = ks((whitened**2).sum(axis=1), stats.chi2(d))
        for k in range(d):
            found[f"row {row}, coordinate {k}"] = ks(whitened[:, k], stats.norm())
            found[f"row {row}, {k}, next sweep"] = uncorrelated(whitened[1:, k], whitened[:-1, k])
            columns.append((row, k, whitened[:, k]))
    for (row, j, a), (other, k, b) in combinations(columns, 2):
        found[f"{row, j} and {other, k}"] = uncorrelated(a, b)
    assert_plausible(found)


def first_normals(kind, streams, sweep, purpose, n) -> np.ndarray:
    """The first n of a stream: of NumPy's generator, or of those that rows take, of a type."""
    if kind == "generator":
        return streams.generator(sweep, purpose).standard_normal(n)
    return streams.normals(0, n, sweep, purpose, np.dtype(kind)).astype(float)


KINDS = ("generator", "float64", "float32")


@pytest.mark.parametrize("kind", KINDS)
def test_streams_are_normal_and_unrelated(kind):
    """Normals of neighbouring addresses, 20,000 each: each Gaussian, and no two correlated, nor
    their squares. A stream that ran into another would repeat its numbers; two of 140,000 doubles
    are the same by chance with a probability below 4e-6."""
    n = 20_000
    addresses = [
        (1, 0, 3, Purpose.USER_ROWS),
        (2, 0, 3, Purpose.USER_ROWS),
        (1, 1, 3, Purpose.USER_ROWS),
        (1, 0, 4, Purpose.USER_ROWS),
        (1, 0, 3, Purpose.ITEM_ROWS),
        (0, 1, 3, Purpose.USER_ROWS),
        (1, 0, 3, Purpose.ALPHA),
    ]
    normals = [
        first_normals(kind, Streams.of_chain(seed, chain), *where, n)
        for seed, chain, *where in addresses
    ]
    found = {}
    for k, z in enumerate(normals):
        found[f"stream {k}"] = ks(z, stats.norm())
        found[f"stream {k}, lag 1"] = float(stats.pearsonr(z[1:], z[:-1]).pvalue)
    for (i, a), (j, b) in combinations(enumerate(normals), 2):
        found[f"streams {i} and {j}"] = float(stats.pearsonr(a, b).pvalue)
        found[f"squares of {i} and {j}"] = uncorrelated(a**2, b**2)
    assert_plausible(found)
    if kind != "float32":
        assert len(np.unique(normals)) == n * len(addresses)


@pytest.mark.parametrize("moving", ["sweep", "seed", "chain"])
@pytest.mark.parametrize("kind", KINDS)
def test_first_normals_of_streams(kind, moving):
    """The first normals of 5,000 streams whose addresses count up in one part.

    Alpha of a sweep has but one draw of its stream: what is random within each stream must be so
    from stream to stream too.
    """
    first = []
    for at in range(5000):
        place = {"sweep": 3, "seed": 1, "chain": 0} | {moving: at}
        streams = Streams.of_chain(place["seed"], place["chain"])
        first.append(first_normals(kind, streams, place["sweep"], Purpose.USER_ROWS, 4))
    z, found = np.array(first), {}
    for k in range(4):
        found[f"normal {k}"] = ks(z[:, k], stats.norm())
        for lag in (1, 2, 3):
            found[f"normal {k}, lag {lag}"] = float(stats.pearsonr(z[lag:, k], z[:-lag, k]).pvalue)
        others = z[:-1, (k + 1) % 4]
        found[f"normal {k}, the next of the one before"] = float(
            stats.pearsonr(z[1:, k], others).pvalue
        )
    assert_plausible(found)
