"""A posterior that hears of more ratings: `update`."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bayesmf.draws.reading import kept_factors
from bayesmf.gibbs.chains import Plan
from bayesmf.results.base import Result
from bayesmf.running import make_job, run_in_memory
from bayesmf.seeds import fresh_seed
from bayesmf.validation import check_bool, check_bytes, check_integer, check_seed
from bayesmf.warm import joined, last_states

if TYPE_CHECKING:
    import xarray as xr

    from bayesmf.model import BPMF
    from bayesmf.results.posterior import Posterior


class Updating(Result):
    """The method that goes on with more ratings."""

    data: xr.DataTree
    model: BPMF

    def update(
        self,
        new_ratings: object,
        *,
        tune: int = 100,
        draws: int = 500,
        random_seed: int | None = None,
        memory_budget: str | int = "512MB",
        progressbar: bool = True,
    ) -> Posterior:
        """Go on with more ratings, from where the chains have ended: a fit to all of them.

        Unlike `fold_in`, everything hears of the new ratings. Gibbs sampling begins at each chain's
        last kept draw, so that few sweeps settle; how few is told by `diagnose` of the result.

        Parameters
        ----------
        new_ratings : DataFrame, Ratings, scipy sparse array, or tuple of arrays
            Ratings to add, also of new users and items. One of a pair that was rated before
            replaces the old one. Timestamps are kept if old and new ratings have them.
        tune, draws : int, default 100 and 500
            Sweeps of each chain that are thrown away, and that are kept.
        random_seed : int, optional
            Non-negative.
        memory_budget : str or int, default "512MB"
            Memory for the factor draws, as in `fit_bpmf`.
        progressbar : bool, default True
            Whether to show progress.

        Returns
        -------
        Posterior
            Of all ratings, with the new draws alone. This posterior stays as it is.

        Raises
        ------
        ValueError, TypeError
            For wrong arguments or tables, ids of another type than before, and a posterior without
            factor draws.
        KeyboardInterrupt
            If interrupted before every chain has a draw.

        Warns
        -----
        UserWarning
            After an interrupt.

        Notes
        -----
        The chains target the posterior of all ratings exactly, wherever they begin; a warm start
        only saves sweeps. They begin near each other if the old chains had settled there, and R-hat
        would not see a place that none of them has left yet: where the new ratings are many, or of
        another kind, fit anew.

        Examples
        --------
        >>> import bayesmf
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=50, draws=50, random_seed=1,
        ...                         progressbar=False)
        >>> new = ([0, 900], [3, 3], [5.0, 4.0])
        >>> later = post.update(new, tune=10, draws=50, random_seed=1, progressbar=False)
        >>> len(later.ratings) - len(ratings), later.ratings.n_users - ratings.n_users
        (2, 1)
        """
        function = "update"
        plan = Plan(
            check_integer(tune, "tune", function),
            check_integer(draws, "draws", function, minimum=1),
        )
        seed = fresh_seed(check_seed(random_seed, function))
        budget = check_bytes(memory_budget, "memory_budget", function)
        check_bool(progressbar, "progressbar", function)
        kept_factors(self.data)  # or says why there are none
        everything = joined(self.ratings, new_ratings, function)
        attributes = self.data.attrs
        backend = attributes["engine"].partition("/")[2]
        job = make_job(
            everything, self.model, plan=plan, chains=self.data["factors"].sizes["chain"],
            seed=seed, backend=backend if backend == "numpy" else "numba",
            dtype=str(attributes["dtype"]), probe=self.data["posterior"].sizes["cell"], keep=None,
            memory_budget=budget, test=None, tracked=None, stored=False, cores=self.cores,
            progressbar=progressbar, function=function,
        )  # fmt: skip
        starts = last_states(
            self.data, self.ratings, everything, self.model, job.settings.dtype, seed
        )
        ran = run_in_memory(job, starts)
        if ran.interrupted:
            kept = f"kept {ran.draws:,} of {plan.draws:,} draws of each chain"
            warnings.warn(f"Interrupted: {kept}.", stacklevel=2)
        from bayesmf.results.posterior import Posterior  # noqa: PLC0415 - it is one of these

        return Posterior(ran.tree, everything, self.model, self.cores, ran.seconds)
