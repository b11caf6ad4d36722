"""Which samples stay, and in what form: one file a decision.

A training sample meets the decisions in the order of `DECISIONS`, and the first that drops it names the reason;
evaluation samples meet none, their sets stay whole but for what is withdrawn. Survivors are then put into the form in
which they teach (`instructions`). `duplicates` and `leakage` look across all sources and publish one part a source;
`curated` applies them. Turning upstream rows into samples belongs to `ingest/`, mixing to the recipes.
"""

from typing import Final

DECISIONS: Final = ("withdrawn", "leakage", "duplicates")
"""What people withdrew goes for that reason, whatever else it is. Then leakage: a sample whose picture is evaluated on
is counted as that, even where it is a duplicate. A duplicate and the sample kept in its place share their pictures, so
they leak together and none is lost between the two. Withdrawn alone, a sample takes its duplicates along: they say
the same."""
