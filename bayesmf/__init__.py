"""Bayesian matrix factorization."""
