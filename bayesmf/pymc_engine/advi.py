"""Mean-field ADVI on the PyMC model: independent normals fitted to the posterior.

In unconstrained space (Kucukelbir, Tran, Ranganath, Gelman & Blei 2017, JMLR 18). A user's factors
and an item's are not independent: each is known only given the other. So its means are near the
posterior's and its standard deviations too small; docs/models.md shows by how much, and the Pareto
k of `gaussian.py` tells.

The gradient of the ELBO is estimated by one draw an iteration, steps are Adam's (Kingma & Ba 2015,
ICLR), smaller once they gain nothing, and what is returned is the mean of the last steps (Dhaka et
al. 2020, NeurIPS 33): single ones jitter around the optimum by their size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bayesmf.pymc_engine.gaussian import Fitted, Gaussian, Recent, Windows

if TYPE_CHECKING:
    from collections.abc import Callable

    from bayesmf.pymc_engine.gaussian import LogDensity

RATES = (0.03, 0.003)
"""Sizes of Adam's steps, one after the other."""

DECAYS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's."""

WINDOW = 500
"""Iterations whose mean ELBO is compared with that of as many before, and whose steps are averaged:
single values of the ELBO, of one draw each, tell nothing."""

START_SD = 0.1
"""Standard deviation of every parameter at the start, in unconstrained space."""


def no_tick(done: int, elbo: float) -> None:
    """Show nothing."""


def fit_independent(
    density: LogDensity,
    start: np.ndarray,
    rng: np.random.Generator,
    *,
    max_iter: int,
    tol: float,
    next_batch: Callable[[], None] = lambda: None,
    tick: Callable[[int, float], None] = no_tick,
) -> Fitted:
    """Maximise the ELBO from means (n,) until a window gains less than `tol` nats at each rate.

    `next_batch` is called before each iteration, to set the density's data. An interrupt ends the
    fit with what it has.
    """
    n = len(start)
    values = np.concatenate([start, np.full(n, np.log(START_SD))])
    adam, windows = Adam(2 * n), Windows(WINDOW, tol, len(RATES))
    recent = Recent(values, WINDOW)
    interrupted = False
    try:
        while not windows.settled and len(windows.elbo) < max_iter:
            next_batch()
            gaussian = Gaussian(values[:n], np.exp(values[n:]))
            z = rng.standard_normal(n)
            log_density, slope = density(gaussian.transform(z))
            ends = windows.add(log_density + gaussian.entropy)
            slopes = np.concatenate([slope, slope * z * gaussian.root + 1.0])
            # After a window the stage may be the next one, whose steps are smaller.
            values = values + RATES[windows.stage] * adam.direction(slopes)
            recent.add(values)
            if ends:
                tick(len(windows.elbo), windows.last)
    except KeyboardInterrupt:
        interrupted = True
    values = recent.mean
    gaussian = Gaussian(values[:n], np.exp(values[n:]))
    return Fitted(gaussian, np.array(windows.elbo), windows.settled, interrupted)


class Adam:
    """Direction of steps: a running mean of the gradient over the root of that of its square."""

    def __init__(self, size: int) -> None:
        self._mean, self._square, self._steps = np.zeros(size), np.zeros(size), 0

    def direction(self, slope: np.ndarray) -> np.ndarray:
        """Take one more gradient into account."""
        self._steps += 1
        first, second = DECAYS
        self._mean += (1 - first) * (slope - self._mean)
        self._square += (1 - second) * (slope**2 - self._square)
        mean = self._mean / (1 - first**self._steps)
        square = self._square / (1 - second**self._steps)
        found: np.ndarray = mean / (np.sqrt(square) + EPSILON)
        return found
