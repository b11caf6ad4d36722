"""Tests of the sample's landing folders."""
