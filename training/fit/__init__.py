"""Build and fit networks."""
