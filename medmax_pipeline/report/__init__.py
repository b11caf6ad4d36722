"""The static page: what came in and what was left out, scores with intervals, pictures, and what everything is made of.

Reads published artifacts and decides nothing; a figure that is not in an artifact does not belong on the page. No
torch, no network, no external resource in what is written.
"""
