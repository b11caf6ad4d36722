"""The interleaved set: a language model writes a question about a captioned picture and an answer that shows it.

From curated pairs to samples whose picture stands in the reply. Reaching a model is `models/endpoint.py`, which pairs
there are is curation's matter, the order of ids `tokens/sequence.py`'s.
"""
