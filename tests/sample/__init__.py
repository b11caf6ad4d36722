"""Tests of the embedded corpus."""
