"""What a posterior can say of itself: convergence, summaries, alignment, criticism, a report."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from bayesmf.diagnostics import alignment, convergence, criticism, leave_one_out, likelihoods
from bayesmf.point.tuning import Settings
from bayesmf.progress import Progress
from bayesmf.results.base import Result
from bayesmf.results.least_squares import least_squares

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd
    import xarray as xr

    from bayesmf.diagnostics.aligned import Alignment
    from bayesmf.diagnostics.convergence import Diagnostics
    from bayesmf.diagnostics.criticism import PredictiveCheck
    from bayesmf.diagnostics.leave_one_out import LeaveOneOut
    from bayesmf.evaluation import Predictor
    from bayesmf.model import BPMF
    from bayesmf.results.point_estimate import PointEstimate


class Judging(Result):
    """Methods by which a posterior is judged, each delegating to `bayesmf.diagnostics`."""

    data: xr.DataTree
    model: BPMF

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
            Draws to align, of all chains together.
        method : {"procrustes", "matchalign"}, default "procrustes"
            Draws are turned to their mean and then all to its simple structure, or each to its own
            and then matched; see `bayesmf.diagnostics.alignment.align`.

        Returns
        -------
        Alignment
            Loadings in each draw, the strength of each factor, R-hat, and top items and users.

        Raises
        ------
        ValueError, TypeError
            For a model without factors, or wrong arguments.

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
            Replicates, each from another draw.
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
            How many training ratings, drawn at random; None for all.
        draws : int, default 1000
            Draws at most, evenly spaced over all chains.
        integrated : bool, default True
            Integrate out the row, of the user or of the item, that has fewer ratings. Without it
            importance weights fail for rows with few ratings.
        random_seed : int, default 0
            Of the choice of ratings.

        Returns
        -------
        LeaveOneOut
            Mean log score with its standard error, Pareto k-hat by count, and ArviZ's `elpd`, which
            `arviz.compare` takes.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments.

        Warns
        -----
        UserWarning
            Of draws that are not from the posterior.

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

        Parameters
        ----------
        n_ratings, draws, integrated, random_seed
            As in `loo`; by default all ratings, and 400 draws.
        memory_budget : str or int, default "1GB"
            What it may take: 8 bytes for each rating and draw.

        Returns
        -------
        None
            The group `log_likelihood` is in `data`, its variable `rating`.

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
        >>> int(arviz.loo(post.data, var_name="rating").n_data_points)
        100
        """
        likelihoods.add_log_likelihood(
            self, n_ratings=n_ratings, draws=draws, integrated=integrated,
            random_seed=random_seed, memory_budget=memory_budget,
        )  # fmt: skip

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        test: object = None,
        models: Mapping[str, Predictor] | None = None,
        items: object = None,
        users: object = None,
        n: int = 10,
        name: str = "ratings",
        about: str = "",
    ) -> Path:
        """Write one self-contained HTML page: the verdict first, then what the fit is worth.

        The page needs neither network nor other files, follows the reader's light or dark scheme,
        and appears under its name only when it is complete.

        Parameters
        ----------
        path : str or path-like
            Where to write; a file that is there is replaced.
        test : DataFrame or Ratings, optional
            Held-out ratings. With them models are compared, and intervals are held to what they
            promise.
        models : mapping of str to results, optional
            What to compare this posterior with; it may be among them, under its name. By default
            alternating least squares is fitted with the same rank, biases and seed.
        items : mapping or Series, optional
            Titles by item id; an item without one is shown by its id.
        users : id or sequence of ids, optional
            Whom to recommend to; by default a user with few, one with the median, and one with many
            ratings.
        n : int, default 10
            Recommendations for each.
        name : str, default "ratings"
            What the data are called, in the title.
        about : str, optional
            A sentence or two about the data.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        FileNotFoundError
            If the folder does not exist.
        ValueError, TypeError
            For wrong arguments, before anything is worked out.

        Examples
        --------
        >>> import pathlib, tempfile, bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> train, test = bayesmf.train_test_split(ratings, test_size=0.2, random_seed=1)
        >>> post = bayesmf.fit_bpmf(train, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     post.report(pathlib.Path(folder, "report.html"), test=test).name
        'report.html'
        """
        # Matplotlib takes a second to import.
        from bayesmf.report import page  # noqa: PLC0415

        titles, shown, n = page.check_page(path, n, items, users, self.ratings, "report")
        posterior: Any = self  # a `Posterior`, which has all that a page asks for
        page.check_judged(test, models, posterior, "report")
        self._codes(shown, "user", "users", "report")
        judged = None
        if test is not None:
            compared = {"ALS": self._least_squares()} if models is None else models
            judged = page.judge_models(posterior, compared, test)
        return page.write_report(
            path, posterior, judged, name=name, about=about, titles=titles, users=shown, n=n
        )

    def _least_squares(self) -> PointEstimate:
        seed = int(self.data.attrs["random_seed"])
        settings = Settings(self.n_factors, self.model.biases, seed)
        with Progress(["ALS"], 1, show=False, unit="fits") as progress:
            return least_squares(
                self.ratings, settings, reg=None, reg_bias=None, cores=self.cores,
                progress=progress, function="report",
            )  # fmt: skip
