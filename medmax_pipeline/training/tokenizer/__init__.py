"""Tuning an image tokenizer on a build's training pictures: `python -m medmax_pipeline.training.tokenizer JOB.json`.

Runs without Dagster, on one device or several. The network itself is `models/vqgan`, how a file becomes pixels
`tokens/image`; training the sample's small tokenizer from nothing is `sample/train_vqgan`.
"""
