"""Run every script in a fresh process, so that none inherits threads or memory; then the page."""

import subprocess
import sys

from benchmarks import SCRIPTS

for name in SCRIPTS:
    print(f"\n=== {name} ===", flush=True)
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], check=True)
if not sys.argv[1:]:
    from benchmarks import render

    render.main()
