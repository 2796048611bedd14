"""Measurements behind docs/benchmarks.md: a script per table, the peers in the same run.

    python -m benchmarks              all scripts, each in a process of its own, then the page
    python -m benchmarks.NAME         one script: prints its table, writes results/NAME.json
    python -m benchmarks.NAME --quick a smoke test: tiny runs, nothing written
    python -m benchmarks.render       docs/benchmarks.md from the JSON files

Every script has the same parts: SETTINGS (QUICK overrides them), `measure(settings)`, which gives
plain numbers, `bars(numbers)`, what was asked against what came, and `text(numbers, settings)`, the
tables. The script prints what the page shows, from the numbers that the JSON file keeps.

`sweep` measures LensKit too, which needs an older pandas: install it into an environment of its own
(`pip install lenskit`) and name its Python in BENCH_LENSKIT_PYTHON. `sweep` and `scale` keep what
they have measured in results/NAME.part.json: started again after a break, they go on from there.
"""

SCRIPTS = (
    "ml100k_folds",
    "flixster",
    "ml1m",
    "convergence",
    "sweep",
    "scale",
    "small",
    "kernels",
    "predicting",
    "recommending",
    "store",
    "cold_start",
    "bandit",
    "questions",
    "fold_in",
    "ladder",
    "taught",
    "strangers",
    "startup",
    "prior",
    "agreement",
    "pymc_engines",
)
"""In the order of the page."""
