"""A posterior as a page for people: `report`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bayesmf.point.tuning import Settings
from bayesmf.progress import Progress
from bayesmf.results.base import Result
from bayesmf.results.least_squares import least_squares

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping
    from pathlib import Path

    import xarray as xr

    from bayesmf.evaluation import Predictor
    from bayesmf.model import BPMF
    from bayesmf.results.factor_estimate import FactorEstimate


class Reporting(Result):
    """The method that writes the page, delegating to `bayesmf.report`."""

    data: xr.DataTree
    model: BPMF

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

    def _least_squares(self) -> FactorEstimate:
        seed = int(self.data.attrs["random_seed"])
        settings = Settings(self.n_factors, self.model.biases, seed)
        with Progress(["ALS"], 1, show=False, unit="fits") as progress:
            return least_squares(
                self.ratings, settings, reg=None, reg_bias=None, cores=self.cores,
                progress=progress, function="report",
            )  # fmt: skip
