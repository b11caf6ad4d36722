"""Dagster's view of the graph."""
