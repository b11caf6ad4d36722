"""Tests of the launching room."""
