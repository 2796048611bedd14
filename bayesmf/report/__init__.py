"""The report: a posterior, what it is worth and what it recommends, in one HTML file."""
