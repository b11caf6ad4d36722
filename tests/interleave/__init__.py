"""Tests of `medmax_pipeline/interleave`."""
