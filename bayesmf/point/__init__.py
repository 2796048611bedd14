"""Point estimates: alternating least squares and its special cases."""
