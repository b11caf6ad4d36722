"""MedMax as a pipeline: from raw biomedical sources to a scored mixed-modal checkpoint, with its whole trail."""

__version__ = "0.1.0"
