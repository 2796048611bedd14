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
    vectors : int
        Bytes of the processor's vectors without which the edit changes nothing, or 0.
    """

    name: str
    fault: str
    file: str
    old: str
    new: str
    case: str = ""
    part: str = ""
    check: str = ""
    vectors: int = 0


CONDITIONALS, SAMPLER, MOVES = "gibbs/conditionals.py", "gibbs/sampler.py", "gibbs/moves.py"
ENGINES, UPDATES = "gibbs/engines.py", "kernels/updates.py"
ROWS, LOW, DENSE = "kernels/rows.py", "kernels/low_degree.py", "kernels/dense.py"
LANES, LOOKUP, NORMALS = "kernels/lanes.py", "kernels/lookup.py", "kernels/normals.py"
STUDY = "no biases, K=2, fixed strength"
"""The study that calibration mutants meet: its scale of 0.5 shows what was not brought back."""

RECORDER, PREDICTIVE, SCALES = "draws/recorder.py", "predictive.py", "scales.py"
READING = "draws/reading.py"

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
        "lapack.solve_transposed(lapack.cholesky(inverse_scale), bartlett)",
        "np.linalg.solve(lapack.cholesky(inverse_scale), bartlett)",
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
        "shift_unsheared", "a shift whose partners' precision does not go along", MOVES,
        "precision = back.T @ other.precision @ back",
        "precision = other.precision",
        "five coordinates", "user_shift",
    ),
    Mutant(
        "shift_prior_forgotten",
        "the Wishart's part of a shift's conditional left out", MOVES,
        "pull -= sheared * other.precision[:, k]",
        "pull -= 0 * sheared * other.precision[:, k]",
        "learned", "user_shift",
    ),
    Mutant(
        "scale_jacobian_forgotten",
        "the Jacobian of the precision left out where the biases are scaled", MOVES,
        "(prior.dof + 1) * log_s",
        "(prior.dof - len(shift)) * log_s",
        "learned", "user_scale",
    ),
    Mutant(
        "scale_blind", "biases scaled without a look at the ratings", MOVES,
        "total = -0.5 * alpha * error.at(s) - ",
        "total = -0.0 * alpha * error.at(s) - ",
        "in tiles", "user_scale",
    ),
    Mutant(
        "swapped_hyper", "items drawn around the hyperparameters of the users", SAMPLER,
        "state.alpha, state.item_hyper)",
        "state.alpha, state.user_hyper)",
        "learned", "item_rows",
    ),
    Mutant(
        "swapped_rows", "the items' hyperparameters drawn given the users' rows", SAMPLER,
        "state.item_moments or engine.moments(state.item_rows)",
        "engine.moments(state.user_rows)",
        "learned", "item_hyper",
    ),
    Mutant(
        "alpha_of_one", "the noise precision forgotten in the item update", SAMPLER,
        "data.has_bias, state.alpha, state.item_hyper",
        "data.has_bias, 1.0, state.item_hyper",
        "learned", "item_rows",
    ),
    Mutant(
        "blocks_share_normals", "all blocks of rows draw the same normals", ENGINES,
        "*data.normals_of(run), sweep",
        "0, data.normals_of(run)[1] - data.normals_of(run)[0], sweep",
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
        "a factor sqrt(alpha) missing from the data's term of the row mean (compiled)", ROWS,
        "y = root * (targets[first + t] - offsets[j])",
        "y = targets[first + t] - offsets[j]",
        "in tiles", "user_rows",
    ),
    Mutant(
        "kernel_bias_forgotten", "the partners' biases not taken from the ratings", ROWS,
        "y = root * (targets[first + t] - offsets[j])",
        "y = root * targets[first + t]",
        "in tiles", "user_rows",
    ),
    Mutant(
        "narrow_alpha_missing",
        "the same factor sqrt(alpha), where partners are looked up one by one", LOOKUP,
        "builder.fmul(root_, builder.fsub(builder.load(at[1]), bias))",
        "builder.fsub(builder.load(at[1]), bias)",
        "learned", "user_rows",
    ),
    Mutant(
        "narrow_bias_forgotten",
        "the partners' biases not taken, where they are looked up one by one", LOOKUP,
        "builder.fsub(builder.load(at[1]), bias)",
        "builder.load(at[1])",
        "learned", "user_rows",
    ),
    Mutant(
        "normals_on_one_side", "normals whose angles lack a half turn", NORMALS,
        "x[i] = -first if back else first",
        "x[i] = first",
        "learned", "user_rows",
    ),
    Mutant(
        "normals_too_narrow", "normals of half the variance", NORMALS,
        "np.sqrt(max(-two *",
        "np.sqrt(max(-one *",
        "learned", "user_rows",
    ),
    Mutant(
        "error_bias_forgotten",
        "the partners' biases left out of the residuals that alpha is drawn from",
        "kernels/residuals.py",
        " + offsets[j] + bias",
        " + bias",
        "learned", "noise",
    ),
    Mutant(
        "error_bias_forgotten_by_vectors",
        "the same, where a vectorful of residuals is worked out at once",
        LOOKUP,
        "builder.insert_element(code.zeros(), bias, ir.Constant(I32, 0))",
        "code.zeros()",
        "long rows", "noise",
    ),
    Mutant(
        "triangle_columns_lost",
        "half vectors that leave out the first columns of the Gram matrix's first rows", LOOKUP,
        "if r < last or part == last",
        "if part == last",
        check="closed forms", vectors=64,
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
        "at = normal_starts[row] - normal_starts[start]",
        "at = (row - start) // 2 * d",
        "learned", "user_rows",
    ),
    Mutant(
        "two_rows_share_a_buffer",
        "a row starts from a tenth of the right-hand side that the row before it left", ROWS,
        "sums[a] = 0.0",
        "sums[a] = 0.1 * sums[a] if a >= width else 0.0",
        "in tiles", "user_rows",
    ),
    Mutant(
        "second_tile_lost", "ratings beyond the first tile of a row ignored", ROWS,
        "for first in range(lo, hi, TILE)",
        "for first in range(lo, min(hi, lo + TILE), TILE)",
        "long rows", "user_rows",
    ),
    Mutant(
        "panels_apart", "products of coordinates of different panels left out", DENSE,
        "n_vectors = tile_ld // w - a // w\n",
        "n_vectors = min(tile_ld // w, (a + PANEL - 1) // w + 1) - a // w\n",
        "low, many panels", "user_rows",
    ),
    Mutant(
        "cholesky_rows_forgotten",
        "rows of the Cholesky factor that do not know of the rows before them", DENSE,
        "first, p_ld, n_vectors, i)",
        "first, p_ld, n_vectors, i - i)",
        "low, many panels", "user_rows",
    ),
    Mutant(
        "lanes_mixed_up", "rows solved side by side that all take the first lane's solution", ROWS,
        "lanes.take(solutions, d, lane, out, waiting[lane])",
        "lanes.take(solutions, d, 0, out, waiting[lane])",
        "learned", "user_rows",
    ),
    Mutant(
        "lanes_row_forgotten", "side by side, rows of U that do not know of the row before them",
        LANES,
        "u[i, j] = code.multiply_add(builder.fneg(u[k, i]), u[k, j], u[i, j])",
        "u[i, j] = u[i, j]",
        "learned", "user_rows",
    ),
    Mutant(
        "lanes_blocks_apart", "side by side, blocks of U that do not know of the rows above", LANES,
        "_factor_block(batch, above, here, step, i, inverse, above)",
        "_factor_block(batch, above, here, step, i - i, inverse, above)",
        "several blocks", "user_rows",
    ),
    Mutant(
        "lanes_later_blocks_forgotten",
        "side by side, a block solved without the coordinates of later ones", LANES,
        "here + full * lanes, step, full - BLOCK - i, inverse,",
        "here + full * lanes, step, i - i, inverse,",
        "several blocks", "user_rows",
    ),
    Mutant(
        "lanes_noise_scaled_twice", "side by side, noise divided by the diagonal of U twice", LANES,
        "+= noise[at - before * lanes]",
        "+= noise[at - before * lanes] * inverse[at]",
        "no biases", "user_rows",
    ),
    Mutant(
        "later_rows_forgotten", "coordinates solved without the later ones", DENSE,
        "(right[i] - explained)",
        "right[i]",
        "low, many panels", "user_rows",
    ),
    Mutant(
        "low_noise_of_ratings_missing",
        "a row in the space of its ratings, drawn without the noise of its ratings", LOW,
        " + normals[at + d + s]",
        "",
        "low", "user_rows",
    ),
    Mutant(
        "low_noise_of_row_missing",
        "a row in the space of its ratings, drawn without the noise of its prior", LOW,
        "x[a], theta[a] = normals[at + a], mean[a]",
        "x[a], theta[a] = 0.0, mean[a]",
        "low", "user_rows",
    ),
    Mutant(
        "low_mean_forgotten",
        "a row in the space of its ratings, drawn around zero, not around the prior mean", LOW,
        "x[a], theta[a] = normals[at + a], mean[a]",
        "x[a], theta[a] = normals[at + a], 0.0",
        "low", "user_rows",
    ),
    Mutant(
        "low_padding_not_cleared",
        "in the space of ratings, padding that keeps what a longer row had there", LOW,
        "                across[a * turned + s] = 0.0\n",
        "                across[a * turned + s] += 0.0\n",
        "low", "user_rows",
    ),
    Mutant(
        "low_bias_unscaled",
        "sqrt(alpha) missing from the bias's regressor in the space of ratings", UPDATES,
        "whitened[chunk] += root * turn[k]",
        "whitened[chunk] += turn[k]",
        "low", "user_rows",
    ),
    Mutant(
        "low_partner_bias_forgotten",
        "in the space of ratings, the partners' biases not taken from the ratings", UPDATES,
        "@ means[:k] + partners.offsets",
        "@ means[:k] + 0 * partners.offsets",
        "low", "user_rows",
    ),
    Mutant(
        "low_whitened_by_transpose",
        "in the space of ratings, partners whitened by L^-T in the place of L^-1", UPDATES,
        "inverse_root.T, inverse_root",
        "inverse_root, inverse_root",
        "low", "user_rows",
    ),
    Mutant(
        "reference_low_noise_missing",
        "in the space of ratings, no noise of the ratings (NumPy engine)", CONDITIONALS,
        "rho - phi @ z - delta",
        "rho - phi @ z",
        "numpy, low", "user_rows",
    ),
    Mutant(
        "segment_lost", "only the first segment of a heavy row's ratings counted", UPDATES,
        "np.add.reduceat(parts, first, axis=0)",
        "parts[first]",
        "in segments", "user_rows",
    ),
    Mutant(
        "heavy_rows_mixed_up", "all heavy rows given the ratings of the first of them", ROWS,
        "heavy_sums[next_heavy, a]",
        "heavy_sums[0, a]",
        "in segments", "user_rows",
    ),
    Mutant(
        "rounded_partners", "partners' factors rounded to three decimals",
        UPDATES,
        "np.multiply(partner_rows[:, :k],",
        "np.multiply(np.round(partner_rows[:, :k], 3),",
        check="closed forms",
    ),
    Mutant(
        "stored_alpha_unscaled",
        "the stored noise precision divided by the scale, not by its square", RECORDER,
        'keep["alpha"][at] = scale.alpha_to_ratings(state.alpha)',
        'keep["alpha"][at] = state.alpha / scale.scale',
        check="calibration",
    ),
    Mutant(
        "stored_factors_unscaled",
        "stored factors take the whole scale on each side, not its root", SCALES,
        "[np.sqrt(self.scale)] * n_factors",
        "[self.scale] * n_factors",
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
        'np.einsum("sna,sna->ns", x @ covariance, x)',
        '0 * np.einsum("sna,sna->ns", x @ covariance, x)',
        check="calibration",
    ),
    Mutant(
        "new_rows_by_precision",
        "an unknown row's spread by its precision in the place of its covariance", PREDICTIVE,
        "(mean, np.linalg.inv(precision)) for side",
        "(mean, precision) for side",
        check="calibration",
    ),
    Mutant(
        "noise_variance_as_sd",
        "predictions with the noise's variance where its sd belongs", READING,
        '1 / np.sqrt(self._flat("alpha"))',
        '1 / self._flat("alpha")',
        check="calibration",
    ),
)  # fmt: skip
