"""The front of stored results: `load` opens them, `resume` goes on with a run."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from bayesmf.checks import check_cores
from bayesmf.draws.opening import model_of, open_tree, ratings_of, stored_at
from bayesmf.files import damage_named
from bayesmf.results import Posterior
from bayesmf.results.folded_tree import folded_of
from bayesmf.results.point_tree import ESTIMATES, estimate_of
from bayesmf.running import run_on
from bayesmf.validation import check_bool, check_integer

if TYPE_CHECKING:
    import os

    from bayesmf.results import PointEstimate


def load(path: str | os.PathLike[str], *, cores: int | None = None) -> Posterior | PointEstimate:
    """Open what `save` or ``fit_bpmf(..., store=...)`` has stored.

    Parameters
    ----------
    path : path
        A Zarr store or a netCDF file. A store that a run is writing may be opened too: it shows
        the draws that every chain had when it was opened.
    cores : int, optional
        Threads that predictions use; by default all that the process may use.

    Returns
    -------
    Posterior, FoldedPosterior, or the kind of PointEstimate that it was
        What was stored, with its ratings. Factor draws of more than 512 MB stay in the store and
        are read as predictions need them.

    Raises
    ------
    FileNotFoundError
        If there is no such path.
    ValueError, TypeError
        If it is not what bayesmf stores, damaged, or written by a newer version. Nothing in a store
        is ever executed.

    Examples
    --------
    >>> import bayesmf, tempfile
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> folder = tempfile.TemporaryDirectory()
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=20, draws=20, random_seed=1,
    ...                         progressbar=False, store=f"{folder.name}/run.zarr")
    >>> again = bayesmf.load(f"{folder.name}/run.zarr")
    >>> bool((again.predict([(0, 1)]) == post.predict([(0, 1)])).all(axis=None))
    True
    >>> folder.cleanup()
    """
    cores = check_cores(cores, "load")
    place, tree = open_tree(path, "load")
    ratings = ratings_of(tree, place, "load")
    if tree.attrs.get("kind") in ESTIMATES:
        with damage_named(place, "load"):
            return estimate_of(tree, ratings)
    model = model_of(tree, place, "load")
    if "folded" in tree.attrs:
        with damage_named(place, "load"):
            return folded_of(tree, ratings, model, cores)
    return Posterior(tree, ratings, model, cores, float(tree.attrs["sampling_time"]))


def resume(
    path: str | os.PathLike[str],
    *,
    draws: int = 0,
    cores: int | None = None,
    progressbar: bool = True,
) -> Posterior:
    """Go on with a stored run: after a crash or an interrupt, or for more draws.

    Ratings, model, seed and the state of every chain stand in the store. A run that was killed at
    any moment and resumed has the bits of one that never was.

    Parameters
    ----------
    path : path
        The store of ``fit_bpmf(..., store=...)``.
    draws : int, default 0
        Draws of each chain beyond those that were planned.
    cores : int, optional
        Threads; by default all that the process may use. Never changes a result.
    progressbar : bool, default True
        Whether to show progress.

    Returns
    -------
    Posterior
        All draws, those from before included. Of a finished run without more draws, what is there.

    Raises
    ------
    FileNotFoundError
        If there is no such store.
    ValueError, TypeError
        For wrong arguments, and for a store that is damaged, was written by a newer version, or has
        no checkpoints.
    OSError
        If another process runs on the store, or the disk is full; what is stored stays.

    Warns
    -----
    UserWarning
        After an interrupt, and if bayesmf, NumPy or Numba have another version than when the run
        was begun: bits may then differ, as they may on another kind of processor.

    Examples
    --------
    >>> import bayesmf, tempfile
    >>> ratings = bayesmf.simulate(60, 40, 900, random_seed=1).ratings
    >>> folder = tempfile.TemporaryDirectory()
    >>> post = bayesmf.fit_bpmf(ratings, n_factors=2, tune=20, draws=20, random_seed=1,
    ...                         progressbar=False, store=f"{folder.name}/run.zarr")
    >>> longer = bayesmf.resume(f"{folder.name}/run.zarr", draws=30, progressbar=False)
    >>> longer.data["posterior"].sizes["draw"]
    50
    >>> folder.cleanup()
    """
    function = "resume"
    place = stored_at(path, function)
    more = check_integer(draws, "draws", function)
    threads = check_cores(cores, function)
    check_bool(progressbar, "progressbar", function)
    job, ran = run_on(place, more, threads, progressbar)
    if ran.interrupted:
        planned = job.settings.draws
        kept = f"kept {ran.draws:,} of {planned:,} draws of each chain"
        warnings.warn(f"Interrupted: {kept}.", stacklevel=2)
    return Posterior(ran.tree, job.ratings, job.model, threads, ran.seconds)
