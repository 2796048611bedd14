"""Full-rank ADVI: a Gaussian with all covariances, by natural gradients.

With x = m + L z the residual y = L'(grad log p(x)) + z has mean zero, and is uncorrelated with z,
where the Gaussian is nearest to the posterior. Steps in the Gaussian's own coordinates, m by L E y
and L by L Phi(E y z') with Phi the lower triangle and half of the diagonal, are the ELBO's natural
gradient (Amari 1998, Neural Computation 10; Phi as in the derivative of a Cholesky decomposition,
Murray 2016), whatever scales and correlations are. The noise of y vanishes as the Gaussian comes to
be the posterior (Roeder, Wu & Duvenaud 2017, NeurIPS 30). Adam's steps in the entries of L do not
converge here.

E y z' is symmetric, as it is I + L' E(Hessian of log p) L (Price 1958): averaging its estimate with
its transpose takes half of the noise away.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmf.pymc_engine.advi import no_tick
from bayesmf.pymc_engine.gaussian import Fitted, Gaussian, Recent, Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.pymc_engine.gaussian import LogDensity

RATES = (0.1, 0.02)
"""Shares of the step to the optimum of a Gaussian posterior, one after the other."""

LONGEST = 0.5
"""Longest step of the mean, and of the root, in the Gaussian's own coordinates."""

WINDOW = 50
"""Iterations whose mean ELBO is compared with that of as many before, and that are averaged."""

DRAWS, SHARE = 8, 4
"""Draws of an iteration: at least so many, and a number of parameters over this: the noise of the
step in a row of L grows with its length."""


def fit_full_rank(
    density: LogDensity,
    start: Gaussian,
    rng: np.random.Generator,
    *,
    max_iter: int,
    tol: float,
    tick: Callable[[int, float], None] = no_tick,
) -> Fitted:
    """Maximise the ELBO from independent normals until a window gains less than `tol` nats.

    An interrupt ends the fit with what it has.
    """
    mean, root = start.mean, np.diag(start.root)
    n = len(mean)
    draws = max(DRAWS, n // SHARE)
    windows = Windows(WINDOW, tol, len(RATES))
    recent = Recent(np.column_stack([mean, root]), WINDOW)
    diagonal = np.diag_indices(n)
    interrupted = False
    try:
        while not windows.settled and len(windows.elbo) < max_iter:
            gaussian = Gaussian(mean, root)
            z = rng.standard_normal((draws, n))
            found = [density(x) for x in gaussian.transform(z)]
            elbo = float(np.mean([value for value, _ in found])) + gaussian.entropy
            ends = windows.add(elbo)
            residuals = np.array([slope for _, slope in found]) @ root + z
            by_mean = residuals.mean(axis=0)
            product = residuals.T @ z / draws
            by_root = np.tril(0.5 * (product + product.T))
            by_root[diagonal] *= 0.5
            rate = RATES[windows.stage]
            mean = mean + _clipped(rate * by_mean) @ root.T
            root = root + root @ _clipped(rate * by_root)
            recent.add(np.column_stack([mean, root]))
            if ends:
                tick(len(windows.elbo), windows.last)
    except KeyboardInterrupt:
        interrupted = True
    values = recent.mean
    gaussian = Gaussian(values[:, 0].copy(), values[:, 1:].copy())
    return Fitted(gaussian, np.array(windows.elbo), windows.settled, interrupted)


def _clipped(step: np.ndarray) -> np.ndarray:
    return step * (LONGEST / max(float(np.linalg.norm(step)), LONGEST))
