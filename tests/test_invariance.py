"""The sweep leaves the joint distribution of parameters and data invariant.

Parameters are drawn from the prior, data from the likelihood given them; after some sweeps the
parameters must still be distributed as the prior. Replicates are independent, so plain
Kolmogorov-Smirnov tests apply (the independent form of Geweke 2004, "Getting it right"). Each
p-value is held to the suite-wide false-failure rate; a wrong line in a conditional shifts a
functional.
"""

import numpy as np
import pytest
from scipy import stats

from bayesmf.gibbs.conditionals import Hyper
from bayesmf.gibbs.engines import ENGINES
from bayesmf.gibbs.sampler import State, build_step
from bayesmf.kernels.blocks import Data
from bayesmf.kernels.streams import Streams
from bayesmf.model import BPMF, GammaPrior, NormalWishart, WorkingScale
from bayesmf.ratings import Ratings

N_USERS, N_ITEMS = 4, 3
REPLICATES, SWEEPS = 1200, 3
LEARNED = NormalWishart(mu0=0.5, extra_dof=8.0, row_share=0.0, strength=GammaPrior(6.0, 1.0))
FIXED = NormalWishart(mu0=0.5, extra_dof=8.0, row_share=0.5, strength=2.0)
DEFAULT = NormalWishart(mu0=0.5, extra_dof=8.0, row_share=0.5, interaction_share=0.3)
ALPHA = GammaPrior(4.0, 3.0)
OBSERVED = np.array([(0, 0), (0, 1), (0, 2), (1, 0), (1, 2), (2, 1), (3, 0), (3, 1)])


def sides(model):
    return [model.prior.resolve(n, model.n_factors, model.biases) for n in (N_USERS, N_ITEMS)]


def prior_state(rng, model):
    drawn = []
    for n, prior in zip((N_USERS, N_ITEMS), sides(model), strict=True):
        w = rng.gamma(prior.shape, 1 / prior.rate) if prior.learned else prior.strength
        Lambda = stats.wishart.rvs(prior.dof, np.diag(1 / w), random_state=rng)
        Lambda = np.atleast_2d(Lambda)
        root = np.linalg.inv(np.linalg.cholesky(Lambda))  # root.T @ root is the covariance
        mu = prior.mu0 + rng.standard_normal(len(w)) @ root / np.sqrt(prior.beta0)
        rows = mu + rng.standard_normal((n, len(w))) @ root
        drawn.append((rows, Hyper(mu, Lambda, w)))
    alpha = rng.gamma(ALPHA.shape, 1 / ALPHA.rate)
    return State(0, drawn[0][0], drawn[1][0], drawn[0][1], drawn[1][1], alpha)


def cell_means(state, has_bias):
    i, j = OBSERVED.T
    U, V = state.user_rows, state.item_rows
    if not has_bias:
        return np.einsum("nk,nk->n", U[i], V[j])
    k = U.shape[1] - 1
    return np.einsum("nk,nk->n", U[i, :k], V[j, :k]) + U[i, k] + V[j, k]


def functionals(state, y, has_bias):
    error = ((y - cell_means(state, has_bias)) ** 2).sum()
    whitened = []
    for rows, hyper in (
        (state.user_rows, state.user_hyper),
        (state.item_rows, state.item_hyper),
    ):
        root = np.linalg.cholesky(hyper.precision)
        z = (rows - hyper.mean) @ root
        whitened.append((z**2).sum())
        whitened.append(LEARNED.beta0 * (((hyper.mean - LEARNED.mu0) @ root) ** 2).sum())
    return {
        "alpha": state.alpha,
        "alpha * SSE": state.alpha * error,
        "w user": state.user_hyper.strength[0],
        "w item": state.item_hyper.strength[-1],
        "w Lambda user": state.user_hyper.strength[0] * state.user_hyper.precision[0, 0],
        "w Lambda item": state.item_hyper.strength[-1] * state.item_hyper.precision[-1, -1],
        "user distance": whitened[0],
        "mu user distance": whitened[1],
        "item distance": whitened[2],
        "mu item distance": whitened[3],
        "cell": cell_means(state, has_bias)[0],
        "user row": state.user_rows[2, -1],
        "item row": state.item_rows[0, 0],
    }


def laws(model):
    """Functionals whose distribution under the prior is known exactly."""
    d = model.n_coordinates
    users, items = sides(model)
    known = {
        "alpha": stats.gamma(ALPHA.shape, scale=1 / ALPHA.rate),
        "alpha * SSE": stats.chi2(len(OBSERVED)),
        "w Lambda user": stats.chi2(users.dof),
        "w Lambda item": stats.chi2(items.dof),
        "user distance": stats.chi2(N_USERS * d),
        "mu user distance": stats.chi2(d),
        "item distance": stats.chi2(N_ITEMS * d),
        "mu item distance": stats.chi2(d),
    }
    if users.learned:
        known["w user"] = stats.gamma(users.shape[0], scale=1 / users.rate[0])
        known["w item"] = stats.gamma(items.shape[-1], scale=1 / items.rate[-1])
    return known


@pytest.mark.parametrize(
    ("engine", "prior", "n_factors", "biases", "replicates"),
    [
        ("numba", LEARNED, 1, True, REPLICATES),
        ("numba", LEARNED, 2, False, REPLICATES),
        ("numba", LEARNED, 0, True, REPLICATES),
        ("numba", DEFAULT, 2, True, REPLICATES),
        ("numba", FIXED, 1, True, 500),
        ("numpy", LEARNED, 1, True, 500),
    ],
    ids=["numba", "no biases", "rank 0", "default prior", "fixed strength", "numpy"],
)
def test_sweep_leaves_the_prior_invariant(
    engine, prior, n_factors, biases, replicates, false_failure_rate
):
    model = BPMF(n_factors, biases, prior, ALPHA, 0.0, 1.0)
    table = Ratings((OBSERVED[:, 0], OBSERVED[:, 1], np.arange(float(len(OBSERVED)))))
    template = Data.build(table, WorkingScale(0.0, 1.0), biases)
    rng = np.random.default_rng(2004 + n_factors)
    before, after = [], []
    for replicate in range(2 * replicates):
        state = prior_state(rng, model)
        noise = rng.standard_normal(len(OBSERVED)) / np.sqrt(state.alpha)
        y = cell_means(state, biases) + noise
        if replicate >= replicates:
            # The reference comes from other replicates: start and end of one are dependent.
            before.append(functionals(state, y, biases))
            continue
        data = template._replace(
            users=template.users._replace(targets=y),
            items=template.items._replace(targets=y[table.by_item.order]),
        )
        step = build_step(data, model, ENGINES[engine])
        streams = Streams.of_chain(replicate, 0)
        for _ in range(SWEEPS):
            state, _ = step(state, streams)
        after.append(functionals(state, y, biases))
    known = laws(model)
    for name in after[0]:
        if name in ("w user", "w item") and name not in known:
            continue  # fixed
        sample = [values[name] for values in after]
        if name in known:
            p = stats.kstest(sample, known[name].cdf).pvalue
        else:
            p = stats.ks_2samp(sample, [values[name] for values in before]).pvalue
        assert p > false_failure_rate, f"{name}: p = {p:.2g}"
