"""Tests of `medmax_pipeline/ingest`."""
