"""Bytes from outside, verified and turned into samples.

Landing folders, archives, pictures and rows are opened here and nowhere else, and none of what they say is believed
before it is checked. What a data set is belongs to `sources/`, which samples stay to `curation/`.
"""
