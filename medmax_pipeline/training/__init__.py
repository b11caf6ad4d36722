"""One fine-tuning run, runnable without Dagster: `python -m medmax_pipeline.training`.

What a sequence is belongs to `tokens/`, the network to `models/`, starting and watching the process to `resources/`.
"""
