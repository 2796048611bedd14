"""Deliberate faults: each one edit of one file, with the test that must see it.

A fault that the sampler could have enters by a line in MUTANTS; `planting` makes the package that
has it.
"""

from __future__ import annotations

from typing import NamedTuple


class Mutant(NamedTuple):
    """One fault.

    Attributes
    ----------
    name : str
        An identifier.
    fault : str
        What is wrong, for people.
    file : str
        Below bayesmf/.
    old, new : str
        The edit.
    case, part : str
        The case and block of `invariance` that must see it with power of at least 99%; "" where
        the joint distribution is invariant all the same, or is not touched.
    check : str
        The other check that must see it, where invariance cannot.
    """

    name: str
    fault: str
    file: str
    old: str
    new: str
    case: str = ""
    part: str = ""
    check: str = ""


CONDITIONALS, SAMPLER = "gibbs/conditionals.py", "gibbs/sampler.py"
ENGINES, ROWS = "gibbs/engines.py", "kernels/rows.py"
STUDY = "no biases, K=2, fixed strength"
"""The study that calibration mutants meet: its scale of 0.5 shows what was not brought back."""

RECORDER, PREDICTIVE = "draws/recorder.py", "predictive.py"

MUTANTS = (
    Mutant(
        "wishart_dof",
        "Wishart of the hyperparameters with one degree of freedom too few", CONDITIONALS,
        "inverse_scale, prior.dof + n\n",
        "inverse_scale, prior.dof + n - 1\n",
        "learned", "user_hyper",
    ),
    Mutant(
        "scatter_n_minus_1",
        "scatter of the rows divided by N - 1 where N times the covariance is meant", CONDITIONALS,
        "+ scatter +",
        "+ scatter * n / (n - 1) +",
        "learned", "user_hyper",
    ),
    Mutant(
        "shift_dropped",
        "the term of the mean's distance from mu0 left out of the Wishart's scale", CONDITIONALS,
        " + prior.beta0 * n / beta * np.outer(shift, shift)",
        "",
        "learned", "user_hyper",
    ),
    Mutant(
        "mu0_ignored", "the hyperparameters' mean shrinks to zero, not to mu0", CONDITIONALS,
        "(prior.beta0 * prior.mu0 + n * mean) / beta",
        "n * mean / beta",
        "learned", "user_hyper",
    ),
    Mutant(
        "beta0_off_by_one", "beta0 + N + 1 in the place of beta0 + N", CONDITIONALS,
        "beta = prior.beta0 + n\n",
        "beta = prior.beta0 + n + 1\n",
        "learned", "user_hyper",
    ),
    Mutant(
        "scale_inverted",
        "diag(1 / w) added to the inverse scale in the place of diag(w)", CONDITIONALS,
        "np.diag(strength) + scatter",
        "np.diag(1 / strength) + scatter",
        "learned", "user_hyper",
    ),
    Mutant(
        "bartlett_dof", "Bartlett's chi-squares all with the same degrees of freedom", CONDITIONALS,
        "dof - np.arange(d)",
        "np.full(d, dof)",
        "five coordinates", "user_hyper",
    ),
    Mutant(
        "wishart_root_transposed", "transposed Cholesky factor in the Wishart draw", CONDITIONALS,
        "np.linalg.cholesky(inverse_scale).T, bartlett",
        "np.linalg.cholesky(inverse_scale), bartlett",
        "long rows", "item_hyper",
    ),
    Mutant(
        "mean_covariance", "mu drawn with covariance Lambda^-1, beta0 + N forgotten", CONDITIONALS,
        " / np.sqrt(parameters.beta)",
        "",
        "learned", "user_hyper",
    ),
    Mutant(
        "strength_stale", "w never drawn (invariant, but it does not move)", CONDITIONALS,
        "if prior.learned:",
        "if prior.learned and rng is None:",
        check="moves",
    ),
    Mutant(
        "strength_shape", "the Wishart's part left out of the Gamma shape of w", CONDITIONALS,
        "prior.shape + prior.dof / 2",
        "prior.shape",
        "learned", "user_hyper",
    ),
    Mutant(
        "strength_rate",
        "Lambda_kk in the place of Lambda_kk / 2 in the Gamma rate of w", CONDITIONALS,
        "np.diag(precision) / 2",
        "np.diag(precision)",
        "learned", "user_hyper",
    ),
    Mutant(
        "alpha_shape", "N - 1 ratings counted in the Gamma shape of alpha", CONDITIONALS,
        "prior.shape + n / 2",
        "prior.shape + (n - 1) / 2",
        "learned", "noise",
    ),
    Mutant(
        "alpha_rate", "SSE in the place of SSE / 2 in the Gamma rate of alpha", CONDITIONALS,
        "prior.rate + squared_error / 2",
        "prior.rate + squared_error",
        "learned", "noise",
    ),
    Mutant(
        "stale_hyper",
        "hyperparameters given the U of the sweep before, after U has been updated", SAMPLER,
        "        for block in blocks:\n            state = block(state, streams)\n",
        "        hyper = blocks[0](state, streams).user_hyper\n"
        "        state = blocks[1](state, streams)._replace(user_hyper=hyper)\n"
        "        for block in blocks[2:]:\n            state = block(state, streams)\n",
        "learned", "sweep",
    ),
    Mutant(
        "swapped_hyper", "items drawn around the hyperparameters of the users", SAMPLER,
        "state.alpha, state.item_hyper)",
        "state.alpha, state.user_hyper)",
        "learned", "item_rows",
    ),
    Mutant(
        "swapped_rows", "the items' hyperparameters drawn given the users' rows", SAMPLER,
        "hyper(state.item_rows, state.item_hyper",
        "hyper(state.user_rows, state.item_hyper",
        "learned", "item_hyper",
    ),
    Mutant(
        "alpha_of_one", "the noise precision forgotten in the item update", SAMPLER,
        "data.has_bias, state.alpha, state.item_hyper",
        "data.has_bias, 1.0, state.item_hyper",
        "learned", "item_rows",
    ),
    Mutant(
        "blocks_share_a_stream", "all blocks of rows draw the same normals", ENGINES,
        "streams.generator(sweep, purpose, number)",
        "streams.generator(sweep, purpose, 0)",
        "many blocks", "user_rows",
    ),
    Mutant(
        "reference_alpha_missing",
        "alpha missing from the data's term of the row mean (NumPy engine)", CONDITIONALS,
        "precision @ mean + alpha * X.T @ y",
        "precision @ mean + X.T @ y",
        "numpy", "user_rows",
    ),
    Mutant(
        "kernel_alpha_missing",
        "alpha missing from the data's term of the row mean (compiled)", ROWS,
        "rhs[a] += alpha * s0\n        rhs[a + 1] += alpha * s1\n"
        "        rhs[a + 2] += alpha * s2\n        rhs[a + 3] += alpha * s3",
        "rhs[a] += s0\n        rhs[a + 1] += s1\n"
        "        rhs[a + 2] += s2\n        rhs[a + 3] += s3",
        "learned", "user_rows",
    ),
    Mutant(
        "kernel_bias_forgotten", "the partners' biases not taken from the ratings", ROWS,
        "y[t] = targets[lo + t] - partner_rows[j, k]",
        "y[t] = targets[lo + t]",
        "learned", "user_rows",
    ),
    Mutant(
        "error_bias_forgotten",
        "the partners' biases left out of the residuals that alpha is drawn from", ROWS,
        "                s += partner_rows[j, k]\n",
        "                s += 0.0\n",
        "learned", "noise",
    ),
    Mutant(
        "kernel_noise_solved_twice", "noise of a row through P^-1 in the place of L^-T", ROWS,
        "(rhs[i] - s) / chol[i, i]\n    if draw:\n"
        "        for i in range(d):\n            rhs[i] += normals[row, i]\n",
        "(rhs[i] - s + (normals[row, i] if draw else 0.0)) / chol[i, i]\n",
        "no biases", "user_rows",
    ),
    Mutant(
        "reference_cholesky_transposed",
        "noise of a row through L^-1 in the place of L^-T (NumPy engine)", CONDITIONALS,
        "np.linalg.solve(chol.T, z)",
        "np.linalg.solve(chol, z)",
        "numpy, no biases", "user_rows",
    ),
    Mutant(
        "two_rows_share_normals", "every two rows read one buffer of normals", ROWS,
        "_solve(gram, rhs, d, normals, row - start, draw)",
        "_solve(gram, rhs, d, normals, (row - start) // 2, draw)",
        "learned", "user_rows",
    ),
    Mutant(
        "two_rows_share_a_buffer",
        "every second row starts from the right-hand side that the row before it left", ROWS,
        "rhs[a] = weight * prior_shift[a]\n",
        "rhs[a] = weight * prior_shift[a] + (rhs[a] if (row - start) % 2 else 0.0)\n",
        "learned", "user_rows",
    ),
    Mutant(
        "second_tile_lost", "ratings beyond the first tile of a row ignored", ROWS,
        "for first in range(lo, hi, TILE)",
        "for first in range(lo, min(hi, lo + TILE), TILE)",
        "long rows", "user_rows",
    ),
    Mutant(
        "padding_not_cleared",
        "the padded columns of a tile keep what the tile before had there", ROWS,
        "            tile[a, t] = 0.0\n",
        "            tile[a, t] = tile[a, t]\n",
        "learned", "user_rows",
    ),
    Mutant(
        "fifth_coordinate_lost",
        "products of the fifth coordinate with the first four left out", ROWS,
        "for b in range(0, a + 4, 2)",
        "for b in range(a, a + 4, 2)",
        "five coordinates", "user_rows",
    ),
    Mutant(
        "float32_overflow",
        "a row's regressors gathered in single precision, whose squares overflow", ROWS,
        "tile = np.zeros((padded, TILE))",
        "tile = np.zeros((padded, TILE), dtype=np.float32)",
        check="closed forms",
    ),
    Mutant(
        "stored_alpha_unscaled",
        "the stored noise precision divided by the scale, not by its square", RECORDER,
        'keep["alpha"][at] = state.alpha / scale.scale**2',
        'keep["alpha"][at] = state.alpha / scale.scale',
        check="calibration",
    ),
    Mutant(
        "stored_factors_unscaled",
        "stored factors take the whole scale on each side, not its root", RECORDER,
        "np.full(d, np.sqrt(scale.scale))",
        "np.full(d, scale.scale)",
        check="calibration",
    ),
    Mutant(
        "likelihood_unscaled",
        "stored log-likelihood of the working scale, without the change of variable", RECORDER,
        "info.log_likelihood - self.n_ratings * np.log(",
        "info.log_likelihood - 0 * np.log(",
        check="calibration",
    ),
    Mutant(
        "start_not_forgotten", "the first sweep's noise precision kept for ever", SAMPLER,
        "return state._replace(alpha=alpha, squared_error=error)",
        "return state._replace(\n"
        "            alpha=alpha if state.sweep < 2 else state.alpha, squared_error=error\n"
        "        )",
        check="calibration",
    ),
    Mutant(
        "new_rows_certain",
        "an unknown row predicted at its prior mean, without its spread", PREDICTIVE,
        'np.einsum("sa,sab,sb->s", x, self._covariances[side], x)',
        '0 * np.einsum("sa,sab,sb->s", x, self._covariances[side], x)',
        check="calibration",
    ),
    Mutant(
        "new_rows_by_precision",
        "an unknown row's spread by its precision in the place of its covariance", PREDICTIVE,
        "np.linalg.inv(precision) for side",
        "precision for side",
        check="calibration",
    ),
    Mutant(
        "noise_variance_as_sd",
        "predictions with the noise's variance where its sd belongs", PREDICTIVE,
        '1 / np.sqrt(flat("alpha"))',
        '1 / flat("alpha")',
        check="calibration",
    ),
)  # fmt: skip
