"""docs/verification.md from the numbers in results/: `python -m tests.statistical.page`."""

from __future__ import annotations

import json
import math
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from scipy import stats

from bayesmf.model import GammaPrior
from tests.statistical.calibration import CASES as STUDIES
from tests.statistical.invariance import CASES, PARTS, REPLICATES, SWEEPS
from tests.statistical.rates import FALSE_FAILURE_RATE

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
IMAGES = ROOT / "docs" / "images"
PAGE = ROOT / "docs" / "verification.md"
TEMPLATE = Path(__file__).parent / "page.md"


SURE = 0.99
"""Power that is asked against every fault, and that "for certain" means here."""

STAGES = ("invariance", "mutants", "calibration", "leave_one_out")

RANK_FAULTS = ((0.15, 1.0), (0.3, 1.0), (0.5, 1.0), (0.0, 0.9), (0.0, 0.8), (0.0, 0.6))
"""Posteriors that are wrong: shift of the mean in sds, ratio of the sd."""


def write() -> None:
    """Write the page from the results there are; all parts must have been run once."""
    PAGE.write_text(text(read()))


def read() -> dict[str, Any]:
    """Results of every part."""
    return {part: json.loads((RESULTS / f"{part}.json").read_text()) for part in STAGES}


def text(results: dict[str, Any]) -> str:
    """Put figures and tables into the page's words."""
    rows = {name: result["rows"] for name, result in results.items()}
    killed, invariance, studies = rows["mutants"], rows["invariance"], rows["calibration"]
    functionals = [row["functionals"] for row in invariance]
    raw = [p for row in invariance for p in row["p_values"]]
    known, other = _distances(max(functionals))
    return Template(TEMPLATE.read_text()).substitute(
        replicates=f"{REPLICATES:,}",
        sweeps=SWEEPS,
        functionals=f"{min(functionals)} to {max(functionals)}",
        critical=f"{known[0]:.3f}",
        sure=f"{known[1]:.3f}",
        critical_two=f"{other[0]:.3f}",
        sure_two=f"{other[1]:.3f}",
        alpha_mean=f"{100 * _gamma_mean_seen(known[1]):.0f}%",
        n_mutants=len(killed),
        n_seen=sum(row["held"] for row in killed),
        n_forms=sum(bool(row["closed_forms"]) for row in killed),
        n_own=sum(row["own"] is not None and row["own"]["power"] > SURE for row in killed),
        least_power=_percent(min(row["own"]["power"] for row in killed if row["own"])),
        big_replicates=f"{invariance[0]['replicates']:,}",
        mutant_replicates=f"{killed[0]['replicates']:,}",
        cases=_cases(),
        invariance=_invariance(invariance),
        n_raw=f"{len(raw):,}",
        least_raw=f"{min(raw):.1g}",
        below_raw=f"{100 * sum(p < 0.01 for p in raw) / len(raw):.2f}%",
        mutants=_mutants(killed),
        data_sets=f"{studies[0]['data_sets']:,}",
        calibration=_calibration(studies),
        neighbours=f"{max(max(row['neighbours'].values()) for row in studies):.2f}",
        rank_power=_rank_power(studies),
        coverage=_coverage(studies),
        coverage_power=_percent(min(row["power"]["known"] for row in studies)),
        figures=_figures(),
        leave_one_out=_leave_one_out(rows["leave_one_out"][0]),
        made=", ".join(
            f"{name} {one['date']} (seed {one['seed']:,}, {one['minutes']:g} min)"
            for name, one in results.items()
        ),
    )


def _distances(functionals: int) -> tuple[tuple[float, float], tuple[float, float]]:
    # From where a test fails, and is sure to, with a known law and against a reference sample.
    level, normal = FALSE_FAILURE_RATE / functionals, float(stats.norm.ppf(SURE))
    one = float(stats.kstwo.isf(level, REPLICATES))
    two = float(stats.kstwobign.isf(level)) / math.sqrt(REPLICATES / 2)
    spread = 0.5 / math.sqrt(REPLICATES)
    return (one, one + normal * spread), (two, two + normal * spread * math.sqrt(2))


def table(header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Markdown table whose first columns are text and the others figures."""
    rule = ["---"] * text_columns + ["--:"] * (len(header) - text_columns)
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, rule, *rows])


def _gamma_mean_seen(distance: float) -> float:
    # Relative error of the mean of alpha ~ Gamma(4) at which its distribution function is so far
    # off: x f(x) is largest at the shape.
    return distance / float(4.0 * stats.gamma(4.0).pdf(4.0))


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
            *(_invariant(by.get((name, part))) for part in parts),
        ]
        for name in CASES
    ]
    return table(["case", "functionals", *(f"`{part}`" for part in parts)], lines)


def _invariant(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""  # a model without biases has no moves
    return _p(row["p"]) if row["held"] else "**fails**"


def _cases() -> str:
    lines = []
    for case in CASES.values():
        setting, model = case.setting, case.setting.model
        prior = setting.priors[0]
        lines.append(
            [
                case.name,
                f"{setting.n_users} x {setting.n_items}, {len(setting.cells)} ratings",
                f"{model.n_factors}",
                "yes" if model.biases else "no",
                f"{prior.dof:g}",
                "learned" if prior.learned else f"{prior.strength[0]:g}",
                f"Gamma({model.alpha.shape:g}, {model.alpha.rate:g})"
                if isinstance(model.alpha, GammaPrior)
                else f"{model.alpha:g}",
                case.engine,
                case.dtype,
                case.path or "usual",
            ]
        )
    header = ["case", "table", "K", "biases", "ν0 of users", "w", "α", "engine", "type", "rows"]
    return table(header, lines, 2)


def _mutants(rows: list[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        own, sweep = row["own"], row["sweep"]
        other = "does not move: " + ", ".join(row["stands_still"]) if row["stands_still"] else "–"
        if row["calibration"]:
            found = row["calibration"]
            other = f"calibration, {found['worst']}: p = {_p(found['p'])}"
        lines.append(
            [
                row["fault"],
                f"{len(row['closed_forms'])}" if row["closed_forms"] else "–",
                f"`{row['part']}` of {row['case']}: {own['functional']}" if own else "–",
                f"{own['distance']:.3f}" if own else "–",
                _percent(own["power"]) if own else "–",
                "yes" if sweep["p"] < FALSE_FAILURE_RATE else "no",
                other,
            ]
        )
    header = [
        "fault", "closed forms that fail", "invariance of, by", "distance", "power", "whole sweeps",
        "else",
    ]  # fmt: skip
    return table(header, lines, 3)


def _calibration(rows: list[dict[str, Any]]) -> str:
    lines = [
        [
            row["name"],
            f"{row['chains']} x ({row['tune']} + {row['draws']}), every {row['thin']}th",
            str(row["draws_ranked"]),
            f"{row['data_sets']:,}",
            str(len(row["p_values"])),
            f"{row['worst']}: {min(row['p_values'].values()):.1g}",
            _p(row["p"]),
        ]
        for row in rows
    ]
    header = ["model", "chains", "L", "data sets", "tests", "smallest p", "all together"]
    return table(header, lines, 2)


def _rank_power(rows: list[dict[str, Any]]) -> str:
    lines = [
        [f"mean off by {shift:g} sd" if shift else f"sd times {ratio:g}"]
        + [_percent(row["rank_power"][f"{shift:g}, {ratio:g}"]) for row in rows]
        for shift, ratio in RANK_FAULTS
    ]
    return table(["a posterior whose", *(row["name"] for row in rows)], lines)


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


def _leave_one_out(row: dict[str, Any]) -> str:
    return (
        f"On {row['ratings']:,} ratings of InstEval ({row['users']} students, {row['items']} "
        f"lecturers) the log densities of {row['points']} of them, each left out, sum to "
        f"{row['loo']:.3f} ± {row['loo_se']:.3f} by PSIS-LOO and to {row['refits']:.3f} ± "
        f"{row['refits_se']:.3f} by {row['points']} fits without the rating (Monte Carlo standard "
        f"errors): {abs(row['z']):.1f} standard errors apart, p = {_p(row['p'])}. The largest "
        f"difference of one rating is {row['largest_apart']:.3f}, the largest k-hat "
        f"{row['largest_khat']:.2f}."
    )


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
