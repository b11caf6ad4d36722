"""Dagster's view of the graph: thin modules that hand steps to the ledger and show what came out.

`build.py` wraps a step as an asset, `checks.py` holds the asset checks, `show.py` what an asset's page shows,
`jobs.py` jobs, the nightly schedule and the sensor. A threshold, a format or a decision here is a mistake: those
belong to the library rooms.
"""
