"""Judging a posterior: convergence, alignment, criticism, leave-one-out."""
