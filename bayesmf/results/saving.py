"""Saving any result: `save`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from bayesmf.draws.saving import check_target, save_tree
from bayesmf.validation import check_bool

if TYPE_CHECKING:
    import os
    from pathlib import Path

    import xarray as xr


class Saving(ABC):
    """The method that saves; a subclass says what it holds."""

    @abstractmethod
    def _tree(self) -> xr.DataTree:
        """Everything that it holds, to be saved."""

    def save(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Save it whole, with its ratings; `bayesmf.load` opens it again.

        Parameters
        ----------
        path : path
            Ending in ``.zarr`` for a Zarr store, in ``.nc`` for netCDF; ArviZ and xarray read both.
            What does not fit in memory is better off in a store. It appears under its name only
            when it is complete.
        overwrite : bool, default False
            Whether what is there may be replaced.

        Returns
        -------
        Path
            Where it was saved.

        Raises
        ------
        FileExistsError, FileNotFoundError
            If the path is taken, or its folder does not exist.
        ValueError, TypeError
            For a path with another ending.

        Examples
        --------
        >>> import bayesmf, tempfile
        >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
        >>> als = bayesmf.fit_als(ratings, n_factors=2, random_seed=1, progressbar=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = als.save(f"{folder}/als.nc")
        ...     again = bayesmf.load(path)
        >>> again
        <FactorEstimate of <Ratings: 900 ratings of 40 items by 60 users, ...
        """
        check_bool(overwrite, "overwrite", "save")
        target = check_target(path, overwrite, "save")
        save_tree(self._tree(), target)
        return target
