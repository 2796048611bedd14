"""Arguments and options that several commands have."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

_COLUMNS = "Columns"
_RUN = "The run"


class Duplicates(StrEnum):
    """What to do with a pair that is rated twice."""

    error = "error"
    mean = "mean"
    last = "last"


RatingsFile = Annotated[
    Path, Argument(metavar="RATINGS", help="Table of ratings: .csv, .tsv, .parquet, .dat, .data.")
]
StoreArgument = Annotated[
    Path, Argument(metavar="STORE", help="What `bayesmf fit --store` has written.")
]
TestFile = Annotated[
    Path | None,
    Option("--test", metavar="FILE", help="Held-out ratings, which predictions are judged by."),
]
OutFile = Annotated[
    Path | None,
    Option(
        "--out", "-o", metavar="FILE",
        help="Write a .csv, .tsv or .parquet. By default: CSV to standard output, a table to a "
        "terminal.",
    ),
]  # fmt: skip
UserCol = Annotated[
    str | None, Option(metavar="NAME", help="Column of users.", rich_help_panel=_COLUMNS)
]
ItemCol = Annotated[
    str | None, Option(metavar="NAME", help="Column of items.", rich_help_panel=_COLUMNS)
]
RatingCol = Annotated[
    str | None, Option(metavar="NAME", help="Column of ratings.", rich_help_panel=_COLUMNS)
]
DuplicatesOption = Annotated[
    Duplicates,
    Option(help="What to do with a pair that is rated twice.", rich_help_panel=_COLUMNS),
]
Factors = Annotated[int, Option(help="Rank of the interaction; 0 leaves biases alone.")]
Draws = Annotated[int, Option(help="Draws of each chain.", rich_help_panel=_RUN)]
Tune = Annotated[int, Option(help="Sweeps of each chain before its draws.", rich_help_panel=_RUN)]
Chains = Annotated[int, Option(help="Independent chains.", rich_help_panel=_RUN)]
Seed = Annotated[
    int | None, Option(help="The same seed gives the same numbers.", rich_help_panel=_RUN)
]
Cores = Annotated[
    int | None,
    Option(help="Threads, by default all; never changes a number.", rich_help_panel=_RUN),
]
