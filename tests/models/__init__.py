"""Tests of the networks and their weights."""
