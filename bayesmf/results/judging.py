"""What a posterior can say of itself: convergence, summaries, alignment, criticism."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from bayesmf.diagnostics import alignment, convergence, criticism, leave_one_out, likelihoods
from bayesmf.results.reporting import Reporting

if TYPE_CHECKING:
    import pandas as pd

    from bayesmf.diagnostics.aligned import Alignment
    from bayesmf.diagnostics.convergence import Diagnostics
    from bayesmf.diagnostics.criticism import PredictiveCheck
    from bayesmf.diagnostics.leave_one_out import LeaveOneOut


class Judging(Reporting):
    """Methods by which a posterior is judged, each delegating to `bayesmf.diagnostics`."""

    @cached_property
    def _diagnosed(self) -> Diagnostics:
        if self.data["posterior"].sizes["draw"] == 0:
            raise ValueError("This posterior has no draws yet: its run was still tuning.")
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
        Converged means: R-hat below 1.01 (Vehtari et al. 2021) of 98% of any group of 50 quantities
        or more, such as the probe cells, and below 1.03 of each; effective sample sizes of at least
        400; Monte Carlo errors of at most 0.05 sd. Less is asked of single singular values, which
        change places. At an effective sample size of 400 one R-hat in ten is above 1.01 by chance:
        such are named, with the draws that would settle them. Of ADVI Pareto k decides, since
        independent draws agree whatever they are drawn from.

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

    def align(self, *, draws: int = 200, method: str = "procrustes") -> Alignment:
        """Turn the draws of the factors to one another, so that each factor can be read.

        Parameters
        ----------
        draws : int, default 200
            Draws to align, of all chains together, evenly spaced over those that are kept; fewer
            where their loadings would take more than 256 MB, which the result says.
        method : {"procrustes", "matchalign"}, default "procrustes"
            "procrustes": draws are turned to their mean, and then all by the one rotation that
            gives the mean simple structure. "matchalign": each draw is turned to its own, then its
            columns are matched. Where most rows have few ratings the simple structure of one draw
            is that of its noise, and draws agree on little: `Alignment.strength` tells how much.

        Returns
        -------
        Alignment
            Loadings in each draw, the strength of each factor, R-hat, and top items and users.

        Raises
        ------
        ValueError, TypeError
            For a model without factors, or fewer draws than chains.

        Notes
        -----
        Each factor is scaled such that its loadings have an sd of 1 over users: an item's loading
        is then the change of its expected rating for a user one sd up. Factors stand in the order
        of their strength, with the sign that makes the item with the largest mean loading positive;
        of fewer rows than factors there are only so many. Intervals are those of loadings in this
        frame: what would turn all draws alike is not in them. The method is described, with its
        sources, in `bayesmf.diagnostics.alignment`.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> post.align().n_factors
        2
        """
        return alignment.align(self, draws=draws, method=method)

    def check_predictive(
        self, *, draws: int = 100, random_seed: int | None = None
    ) -> PredictiveCheck:
        """Compare the training ratings with ratings that the fitted model makes up.

        Parameters
        ----------
        draws : int, default 100
            Replicates at most, each from another draw, evenly spaced over all chains.
        random_seed : int, optional
            Of the noise of the replicated ratings.

        Returns
        -------
        PredictiveCheck
            Prints as a table of statistics with posterior predictive p-values, and what was found.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments, and for a posterior of fewer than 20 kept draws.

        Notes
        -----
        The same ratings fit the model and judge it, so that p-values of a model that holds gather
        about 0.5 (Gelman, Meng & Stern 1996). Means over users and items count each row once,
        however many ratings it has.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> post.check_predictive(random_seed=1).draws
        100
        """
        return criticism.check_predictive(self, draws=draws, random_seed=random_seed)

    def loo(
        self,
        *,
        n_ratings: int | None = 2000,
        draws: int = 1000,
        integrated: bool = True,
        random_seed: int = 0,
    ) -> LeaveOneOut:
        """Estimate how well ratings are predicted from all others, without a refit, by PSIS-LOO.

        Parameters
        ----------
        n_ratings : int or None, default 2000
            How many training ratings, each left out by itself: a simple random sample, or all for
            None.
        draws : int, default 1000
            Draws at most, evenly spaced over all chains.
        integrated : bool, default True
            Integrate out the row, of the user or of the item, that has fewer ratings. Without it
            importance weights fail for rows with few ratings.
        random_seed : int, default 0
            Of the choice of ratings; the same for all posteriors that are to be compared.

        Returns
        -------
        LeaveOneOut
            Mean log score with its standard error, Pareto k-hat by count, and ArviZ's `elpd`, which
            `arviz.compare` takes.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments, or fewer than 25 draws.
        numpy.linalg.LinAlgError
            If the precision of a row is lost to rounding.

        Warns
        -----
        UserWarning
            If more than 1% of the k-hat are above the limit; if the draws are ADVI's, which are
            not from the posterior.

        Notes
        -----
        The centre and the scale of the working scale stay those of all ratings.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> post.loo(n_ratings=100).n_ratings
        100
        """
        return leave_one_out.loo(
            self, n_ratings=n_ratings, draws=draws, integrated=integrated, random_seed=random_seed
        )

    def add_log_likelihood(
        self,
        *,
        n_ratings: int | None = None,
        draws: int = 400,
        integrated: bool = True,
        random_seed: int = 0,
        memory_budget: str | int = "1GB",
    ) -> None:
        """Add the log likelihood of single ratings to `data`, for `arviz.loo` and its kin.

        Once stored with the other groups, it is all that
        ``arviz.loo(tree, var_name="rating", reff=tree["log_likelihood"].attrs["reff"])`` needs.
        Without `reff` ArviZ takes the effective sample size of all draws for that of the fewer
        ones here, and fits its Pareto distribution to a shorter tail than it could.

        Parameters
        ----------
        n_ratings, draws, integrated, random_seed
            As in `loo`; by default all ratings, and 400 draws.
        memory_budget : str or int, default "1GB"
            What it may take: 8 bytes for each rating and draw.

        Returns
        -------
        None
            The group `log_likelihood` is in `data`, in the place of one that was there: `rating`,
            with dimensions (chain, draw, rating_id).

        Raises
        ------
        ValueError, TypeError
            For wrong arguments, or what would not fit the budget.

        Examples
        --------
        >>> import arviz, bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=200, random_seed=1,
        ...                         progressbar=False)
        >>> post.add_log_likelihood(n_ratings=100)
        >>> reff = post.data["log_likelihood"].attrs["reff"]
        >>> int(arviz.loo(post.data, var_name="rating", reff=reff).n_data_points)
        100
        """
        likelihoods.add_log_likelihood(
            self, n_ratings=n_ratings, draws=draws, integrated=integrated,
            random_seed=random_seed, memory_budget=memory_budget,
        )  # fmt: skip
