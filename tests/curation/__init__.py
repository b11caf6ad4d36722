"""Tests of `medmax_pipeline/curation`."""
