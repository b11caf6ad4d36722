"""Tests of `medmax_pipeline.training.tokenizer`."""
