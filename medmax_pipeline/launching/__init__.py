"""Modules launched on this machine or a cluster, watched, found again after a restart, and ended without a trace.

`launch.py` starts or finds again, `follow.py` watches, `supervise.py` runs beside the module wherever that is, and a
backend a kind of machine (`backends.py`) starts and ends the supervisor there. Standard library only, but for what
`ray` and `k8s` need. What is launched, and what its result means, belongs to its room; Dagster hears of it in
`resources/`.
"""
