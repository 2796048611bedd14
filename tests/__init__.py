"""The test suite; `tests.statistical` holds what proves the sampler."""
