"""The suite: a model's answers to the evaluation items, one record an item, and the scores over them.

Runnable without Dagster: `python -m medmax_pipeline.eval JOB.json`. One file in `tasks/` a benchmark. Networks and how
they generate belong to `models/`, prompts as ids to `tokens/sequence`, the page that shows scores to `report/`. No
polars, pydantic, webdataset or dagster here; torch only in `engine.py`, when a job runs.
"""
