"""What a posterior can say of itself: convergence, summaries, alignment, criticism, a report."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from bayesmf.diagnostics import convergence

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from bayesmf.diagnostics.convergence import Diagnostics
    from bayesmf.model import BPMF
    from bayesmf.ratings import Ratings


class Judging:
    """Methods by which a posterior is judged, each delegating to `bayesmf.diagnostics`."""

    data: xr.DataTree
    ratings: Ratings
    model: BPMF
    cores: int

    @cached_property
    def _diagnosed(self) -> Diagnostics:
        return convergence.diagnose(self)

    def diagnose(self, var_names: object = None) -> Diagnostics:
        """Judge whether the chains have converged, and say what to do if they have not.

        Parameters
        ----------
        var_names : str or list of str, optional
            Which quantities: "alpha", "total_log_likelihood", "train_rmse", "intercept",
            "interaction_sd", "singular_value", "user_effect", "item_effect", "probe". By default
            all, which are what ratings identify. Raw factors and biases are refused: they wander
            along directions that no rating sees, whether or not a run has converged.

        Returns
        -------
        Diagnostics
            Prints as a verdict in words and a table of groups; `table` has every quantity. R-hat,
            effective sample sizes and Monte Carlo errors are ArviZ's.

        Raises
        ------
        ValueError, TypeError
            For names of what is not identified, with the reason, or that do not exist.

        Notes
        -----
        Converged means: R-hat below 1.01 and effective sample sizes of at least 400 (Vehtari et
        al. 2021), and Monte Carlo errors of at most 0.05 sd. Of groups of many quantities 98% must
        be below 1.01 and all below 1.03; of single singular values, which change places, all below
        1.03. Of ADVI Pareto k decides, since independent draws agree whatever they are drawn from.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=0, draws=20, random_seed=1,
        ...                         progressbar=False)
        >>> post.diagnose().verdict.status
        'not converged'
        """
        return (
            self._diagnosed
            if var_names is None
            else convergence.diagnose(self, var_names=var_names)
        )

    def summary(self, var_names: object = None, *, prob: float = 0.9) -> pd.DataFrame:
        """Summarise identified quantities: mean, sd, interval, and how well they are known.

        Parameters
        ----------
        var_names : str or list of str, optional
            As in `diagnose`; by default single numbers and singular values.
        prob : float, default 0.9
            Probability of the central interval [lower, upper].

        Returns
        -------
        DataFrame
            `mean`, `sd`, `lower`, `upper`, on the rating scale (`alpha` as one over its square);
            `r_hat`, `ess_bulk`, `ess_tail`, and `mcse_sd`, the Monte Carlo error in sds.

        Raises
        ------
        ValueError, TypeError
            For names that `diagnose` refuses, or `prob` outside (0, 1).

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> post.summary(["alpha", "intercept"]).index.tolist()
        ['alpha', 'intercept']
        """
        return convergence.summary(self, var_names=var_names, prob=prob)
