"""Dagster configuration in, plain library objects out. What the objects do belongs to their own rooms."""
