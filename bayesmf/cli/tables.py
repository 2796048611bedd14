"""Tables in and out: ids as the stored ones, a table on a terminal, CSV into a pipe or a file."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import bayesmf
from bayesmf.cli.messages import Refused, naming, say

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd

    from bayesmf.evaluation import Comparison
    from bayesmf.ratings import Ratings
    from bayesmf.results import Posterior

MOST_SHOWN = 50
"""Rows that a terminal shows."""


class Names(NamedTuple):
    """Columns of a file, where they have other names than the usual ones."""

    user: str | None = None
    item: str | None = None
    rating: str | None = None


def posterior_from(store: Path) -> Posterior:
    """Open a stored posterior; a point estimate, which may be stored too, has no draws to ask."""
    found = bayesmf.load(store)
    if not isinstance(found, bayesmf.Posterior):
        got = type(found).__name__
        raise Refused(f"{store} must be what `bayesmf fit` has stored. Got a {got}.")
    return found


def ratings_from(path: Path, names: Names, duplicates: str = "error") -> Ratings:
    """Read the ratings of a file."""
    frame = bayesmf.load_ratings(path)
    with naming(path):
        return bayesmf.Ratings(
            frame, user_col=names.user, item_col=names.item, rating_col=names.rating,
            duplicates=duplicates,
        )  # fmt: skip


def cells_from(path: Path, names: Names, ratings: Ratings, *, with_rating: bool) -> pd.DataFrame:
    """Read cells from a file, under the column names and with the kinds of ids of `ratings`."""
    import pandas as pd

    from bayesmf.files import existing, read_table
    from bayesmf.tables import read_columns

    function, least = "load_ratings", 3 if with_rating else 2
    file = existing(path, function)
    frame = read_table(file, function, least=least)
    with naming(path):
        found = read_columns(
            frame, "table", "Ratings", names=names._asdict(), prefer=ratings.columns,
            with_rating=with_rating,
        ).names  # fmt: skip
    kinds = {"user": _kind(ratings.user_ids), "item": _kind(ratings.item_ids)}
    # A file of numbers alone is read as numbers; where stored ids are texts, so were these.
    texts = [found[s] for s, kind in kinds.items() if kind == "O" and _numeric(frame[found[s]])]
    if texts:
        frame = read_table(file, function, least=least, texts=texts)
    for side, kind in kinds.items():
        if kind == "M":
            with naming(path):
                frame[found[side]] = pd.to_datetime(frame[found[side]])
    roles = ("user", "item", "rating") if with_rating else ("user", "item")
    return frame[[found[role] for role in roles]].set_axis(
        [ratings.columns[role] for role in roles], axis=1
    )


def _kind(ids: pd.Index[Any]) -> str:
    kind = ids.to_numpy().dtype.kind
    return "O" if kind in "UT" else kind


def _numeric(column: pd.Series[Any]) -> bool:
    return column.dtype.kind in "iuf"


def ids_like(given: list[str], ratings: Ratings) -> list[Any]:
    """Users from the command line, as the stored ids are: of "42" the number, where they are."""
    import numpy as np

    kind = _kind(ratings.user_ids)
    if kind == "i":
        wrong = [one for one in given if not re.fullmatch(r"[+-]?\d+", one)]
        if wrong:
            raise Refused(f"--user must be a whole number, as stored ids are. Got {wrong[0]!r}.")
        return [int(one) for one in given]
    if kind == "M":
        try:
            return [np.datetime64(one) for one in given]
        except ValueError:
            raise Refused(f"--user must be dates, as stored ids are. Got {given}.") from None
    return list(given)


def note_unknown(users: list[Any], ratings: Ratings) -> None:
    """Say which users are not among those that a model was fitted to."""
    strangers = [one for one, here in zip(users, _known(users, ratings), strict=True) if not here]
    if strangers:
        shown = ", ".join(map(str, strangers[:5]))
        more = f" and {len(strangers) - 5:,} more" if len(strangers) > 5 else ""
        say(
            f"bayesmf: note: no ratings by user {shown}{more}: what is shown is what is known of a "
            "user without ratings, with wide intervals."
        )


def _known(users: list[Any], ratings: Ratings) -> np.ndarray:
    import pandas as pd

    return pd.Index(users).isin(ratings.user_ids)


def check_out(out: Path | None) -> None:
    """Refuse a file that cannot be written, before anything is worked out."""
    if out is not None:
        from bayesmf.files import check_output

        check_output(out, "out", "bayesmf")


def put(frame: pd.DataFrame, out: Path | None = None) -> None:
    """Write a table to a file or a pipe as data, to a terminal for the eye."""
    if out is not None:
        from bayesmf.files import write_table

        write_table(frame, out)
        say(f"Wrote {len(frame):,} rows to {out}.")
    elif sys.stdout.isatty():
        _show(frame)
    else:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")
        sys.stdout.flush()  # a pipe that is closed is noticed here, not when Python ends


def put_comparison(comparison: Comparison) -> None:
    """Show models side by side; into a pipe a row each, how they were fitted beside it."""
    if sys.stdout.isatty():
        sys.stdout.write(f"{comparison}\n")
    else:
        put(comparison.table.rename_axis("model").reset_index())
        say(comparison.protocol)


def _show(frame: pd.DataFrame) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for name in frame.columns:
        right = frame[name].dtype.kind in "iuf"
        table.add_column(str(name).replace("_", " "), justify="right" if right else "left")
    for row in frame.head(MOST_SHOWN).itertuples(index=False):
        table.add_row(*(f"{x:.3f}" if isinstance(x, float) else str(x) for x in row))
    Console().print(table)
    if len(frame) > MOST_SHOWN:
        say(f"... and {len(frame) - MOST_SHOWN:,} more rows: --out FILE or a pipe has them all.")
