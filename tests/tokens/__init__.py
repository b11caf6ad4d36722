"""Tests of `medmax_pipeline.tokens`."""
