"""Mirrors the package; benchmarks are not tests."""
