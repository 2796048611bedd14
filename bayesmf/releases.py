"""Releases of MovieLens: how their files are read, and how a zip comes from the publisher."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
from platformdirs import user_cache_path

from bayesmf.files import File, damage_named, read_nameless, read_table

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Release(NamedTuple):
    """The files of a MovieLens release; ratings.csv.gz may stand in for `ratings`."""

    folder: str
    ratings: str
    films: str
    mark: str  # no other release has a file of this name
    encoding: str
    people: str | None = None


RELEASES = {
    "latest-small": _Release("ml-latest-small", "ratings.csv", "movies.csv", "movies.csv", "utf-8"),
    "100k": _Release("ml-100k", "u.data", "u.item", "u.item", "latin-1", "u.user"),
    "1m": _Release("ml-1m", "ratings.dat", "movies.dat", "users.dat", "latin-1", "users.dat"),
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
_PEOPLE = {
    "100k": ("|", ["user", "age", "gender", "occupation", "zip_code"]),
    "1m": ("::", ["user", "gender", "age", "occupation", "zip_code"]),
}
_OCCUPATIONS_1M = (
    "other|academic/educator|artist|clerical/admin|college/grad student|customer service|"
    "doctor/health care|executive/managerial|farmer|homemaker|K-12 student|lawyer|programmer|"
    "retired|sales/marketing|scientist|self-employed|technician/engineer|tradesman/craftsman|"
    "unemployed|writer"
)


def read_known(file: File, function: str) -> pd.DataFrame:
    """Read a table of a known release, with the names and types that are promised."""
    frame = read_table(file, function)
    with damage_named(file, function):
        return typed(frame)


def typed(frame: pd.DataFrame) -> pd.DataFrame:
    """Give a table the names and types that are promised."""
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


def _roots(place: Path, name: str, function: str) -> Iterator[File]:
    """Yield the folders, on disk or zipped, that may hold a release."""
    folder = RELEASES[name].folder
    if place.is_dir():
        yield from (place, place / folder)
    for file in (place, place / f"ml-{name}.zip"):
        if file.is_file():
            with damage_named(file, function):
                archive = zipfile.ZipFile(file)
            with archive:
                yield from (zipfile.Path(archive), zipfile.Path(archive) / folder)


def read_release(place: Path, name: str, split: tuple[str, ...]) -> list[pd.DataFrame]:
    """Read a release's ratings, or a split of them, from a folder or zip; [] if it is not there."""
    _, ratings, films, mark, encoding, _ = RELEASES[name]
    for root in _roots(place, name, "load_movielens"):
        tables = split or [f for f in (ratings, "ratings.csv.gz") if (root / f).is_file()][:1]
        if tables and all((root / file).is_file() for file in (*tables, films, mark)):
            about = _read_films(root / films, encoding)
            frames = [read_known(root / f, "load_movielens") for f in tables]
            return [frame.join(about, on="item") for frame in frames]
    return []


def read_people(place: Path, name: str, function: str) -> pd.DataFrame | None:
    """Read what a release knows of its users, from a folder or zip; None if it is not there."""
    for root in _roots(place, name, function):
        file = root / str(RELEASES[name].people)
        if file.is_file():
            return _read_people(file, name, function)
    return None


def _read_people(file: File, name: str, function: str) -> pd.DataFrame:
    sep, columns = _PEOPLE[name]
    with damage_named(file, function):
        # As texts: the zip code 01002 is not 1002.
        people = read_nameless(file.read_bytes(), sep, RELEASES[name].encoding, dtype="str")
        people = people.set_axis(columns, axis=1)
        if people.isna().any(axis=None):
            raise ValueError("a field is empty")
        people = people.astype({"user": "int64", "age": "int64"}).set_index("user")
        if people.index.has_duplicates:
            raise ValueError("a user stands there twice")
        if name == "1m":
            names = dict(enumerate(_OCCUPATIONS_1M.split("|")))
            people["occupation"] = [names[int(code)] for code in people["occupation"]]
        return people[["age", "gender", "occupation", "zip_code"]]


def fetch(name: str) -> Path:
    """Return a release's zip in the cache, downloaded into it if it is not there yet."""
    import pooch  # noqa: PLC0415 - needed only where nothing is found on this machine

    def download(url: str, output: str, client: object) -> None:
        pooch.HTTPDownloader(chunk_size=2**16)(url, output, client)
        size = Path(output).stat().st_size
        plausible = _PLAUSIBLE_BYTES[0] <= size <= _PLAUSIBLE_BYTES[1]
        if name not in _SHA256 and not (plausible and read_release(Path(output), name, ())):
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
            f"its files; set BAYESMF_DATA to a folder that holds {RELEASES[name].folder}; put "
            f"{file} into {cache}; or call again when there is a network."
        )
        raise FileNotFoundError(message) from None
    except ValueError as error:
        message = f"{MOVIELENS_URL}{file} must be the publisher's. Got another, deleted: {error}"
        raise ValueError(message) from error
