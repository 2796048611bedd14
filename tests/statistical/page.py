"""docs/verification.md from the numbers in results/: `python -m tests.statistical.page`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from scipy import stats

from tests.statistical.calibration import CASES as STUDIES
from tests.statistical.invariance import CASES, PARTS, REPLICATES, SWEEPS
from tests.statistical.mutants import MUTANTS
from tests.statistical.rates import FALSE_FAILURE_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "verification.md"
TEMPLATE = Path(__file__).parent / "page.md"


def write() -> None:
    """Write the page from the results there are."""
    PAGE.write_text(text({path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*")}))


def text(results: dict[str, Any]) -> str:
    """Put figures and tables into the page's words."""
    level = FALSE_FAILURE_RATE / 33
    critical = float(stats.kstwo.isf(level, REPLICATES))
    sure = critical + float(stats.norm.ppf(0.99)) * 0.5 / math.sqrt(REPLICATES)
    rows = {name: result["rows"] for name, result in results.items()}
    killed = rows["mutants"]
    return Template(TEMPLATE.read_text()).substitute(
        replicates=f"{REPLICATES:,}",
        sweeps=SWEEPS,
        critical=f"{critical:.3f}",
        sure=f"{sure:.3f}",
        alpha_mean=f"{100 * _gamma_mean_seen(sure):.0f}%",
        n_cases=len(CASES),
        n_parts=len(PARTS),
        n_mutants=len(MUTANTS),
        n_seen=sum(row["held"] for row in killed),
        n_own=sum(row["own"] is not None for row in killed),
        least_power=_percent(min(row["own"]["power"] for row in killed if row["own"])),
        big_replicates=f"{rows['invariance'][0]['replicates']:,}",
        invariance=_invariance(rows["invariance"]),
        mutants=_mutants(killed),
        data_sets=f"{rows['calibration'][0]['data_sets']:,}",
        calibration=_calibration(rows["calibration"]),
        coverage=_coverage(rows["calibration"]),
        coverage_power=_percent(min(row["power"]["known"] for row in rows["calibration"])),
        figures=_figures(),
        made=", ".join(
            f"{name} {one['date']}, {one['minutes']:g} min" for name, one in results.items()
        ),
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Markdown table whose first columns are text and the others figures."""
    rule = ["---"] * text_columns + ["--:"] * (len(header) - text_columns)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *rows])


def _gamma_mean_seen(distance: float) -> float:
    # Relative error of alpha's mean, Gamma(4), at which its distribution function is that far off.
    law = stats.gamma(4.0)
    peak = max(float(law.pdf(x) * x) for x in (3.5, 4.0, 4.5))
    return distance / peak


def _percent(share: float) -> str:
    return "> 99.9%" if share > 0.999 else f"{100 * share:.1f}%"


def _p(p: float) -> str:
    return "1" if p >= 0.995 else f"{p:.2f}" if p >= 0.01 else f"{p:.1g}"


def _invariance(rows: list[dict[str, Any]]) -> str:
    parts = ["sweep", *PARTS]
    by = {(row["case"], row["part"]): row for row in rows}
    lines = [
        [
            name,
            str(by[name, "sweep"]["functionals"]),
            *(_p(by[name, part]["p"]) if by[name, part]["held"] else "**fails**" for part in parts),
        ]
        for name in CASES
    ]
    return table(["case", "functionals", *(f"`{part}`" for part in parts)], lines)


def _mutants(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        own, sweep = row["own"], row["sweep"]
        forms = f"{len(row['closed_forms'])} checks" if row["closed_forms"] else "–"
        other = ""
        if row["stands_still"]:
            other = "does not move: " + ", ".join(row["stands_still"])
        if row["calibration"]:
            other = f"calibration: {row['calibration']['worst']}"
        lines.append(
            [
                row["fault"],
                forms,
                f"`{row['part']}` of {row['case']}: {own['functional']}" if own else "–",
                f"{own['distance']:.3f}" if own else "–",
                _percent(own["power"]) if own else "–",
                "yes" if sweep["p"] < FALSE_FAILURE_RATE else "no",
                other or "–",
            ]
        )
    header = [
        "fault", "closed forms that fail", "block that sees it, by", "distance", "power",
        "whole sweeps", "other",
    ]  # fmt: skip
    return table(header, lines, 3)


def _calibration(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            row["name"],
            f"{row['data_sets']:,}",
            str(row["draws_ranked"]),
            str(len(row["p_values"])),
            row["worst"],
            _p(row["p"]),
        ]
        for row in rows
    ]
    return table(["model", "data sets", "draws", "tests", "worst", "p, all together"], lines)


def _coverage(rows: list[dict[str, Any]]) -> str:
    levels = list(next(iter(rows[0]["coverage"].values())))
    lines = [
        [row["name"], kind]
        + [
            f"{100 * found[level]['observed']:.2f} ± {100 * found[level]['standard_error']:.2f}"
            for level in levels
        ]
        for row in rows
        for kind, found in row["coverage"].items()
    ]
    return table(["model", "cells", *(f"{level} interval" for level in levels)], lines, 2)


def _figures() -> str:
    parts = []
    for number, name in enumerate(STUDIES, 1):
        parts += [
            f"![Ranks of the truth, {name}](images/calibration-ranks-{number}.png)",
            f"![Coverage of intervals, {name}](images/calibration-coverage-{number}.png)",
        ]
    return "\n\n".join(parts)


if __name__ == "__main__":
    write()
