"""Tests that the sampler draws from the posterior that it states.

docs/verification.md explains it. Modules whose names do not start with `test_` are the tools; they
are tested in test_tools.py.
"""
