"""Tests of `medmax_pipeline.shards`."""
