"""Tests of `medmax_pipeline/sources`."""
