"""The suite: a model's answers to the evaluation items, one record an item, and the scores over them.

Runnable without Dagster: `python -m medmax_pipeline.eval JOB.json`. One file in `tasks/` a benchmark. Networks and how
they generate belong to `models/`, prompts as ids to `tokens/sequence`, the page that shows scores to `report/`. No
polars, pydantic, webdataset or dagster here; torch only in `engine.py`, when a job runs.
"""

RESAMPLES = 2000
"""Ours: the ends of a 95 % interval then vary by about 0.1 of the standard error from seed to seed."""
LEVEL = 0.95
