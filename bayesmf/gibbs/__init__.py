"""The Gibbs sampler: each conditional in NumPy, one sweep, several chains."""
