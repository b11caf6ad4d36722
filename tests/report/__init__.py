"""Tests of the static page."""
