"""Networks and their weights: the image tokenizer, the mixed-modal transformer, and generating with it.

Built on `transformers` where it has the part, written here where it has not. What a token id means is `tokens/`; what
is trained and with which weighting is `training/`; nothing here reads samples, shards or a build.
"""
