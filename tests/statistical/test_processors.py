"""The kernels as they are compiled for processors with shorter vectors than this one may have."""

import os
import platform
import subprocess
import sys

import pytest

from bayesmf.kernels.vectors import VECTOR_BYTES

PROCESSORS = {
    # Name and features as LLVM knows them, bytes of a vector, rows of a panel.
    "AVX2": ("haswell", "+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2", 32, 4),
    "SSE2": ("x86-64", "+sse2", 16, 4),
}
SCRIPT = """
from bayesmf.kernels import vectors
from tests.statistical.closed_forms import CHECKS

assert (vectors.VECTOR_BYTES, vectors.PANEL) == ({size}, {panel})
for name in (
    "row update, numba", "row update, numba, mixed", "single precision", "single precision, mixed",
    "rows of a block, numba, in the space of ratings", "normals", "squared error, numba",
):
    CHECKS[name]("bayesmf")
print("all hold")
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names processors of this family")
@pytest.mark.parametrize(
    # All of them take long to compile: the vectors that most machines have are looked at each time.
    "processor",
    ["AVX2", pytest.param("SSE2", marks=pytest.mark.thorough)],
)
def test_closed_forms_hold_with_other_vectors(tmp_path, processor):
    name, features, size, panel = PROCESSORS[processor]
    if size > VECTOR_BYTES:
        pytest.skip(f"this processor has vectors of {VECTOR_BYTES} bytes")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(size=size, panel=panel)],
        env=os.environ
        | {
            "NUMBA_CPU_NAME": name,
            "NUMBA_CPU_FEATURES": features,
            "NUMBA_CACHE_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "all hold", done.stderr
