"""Which samples stay, and in what form: one file a decision.

Every sample of a source meets the decisions in the order of `DECISIONS`, and the first that drops it names the reason.
Survivors are then put into the form in which they teach (`instructions`). `leakage`, `duplicates`, `figures` and
`captions` look across sources, run as steps of their own and publish one part a source; the others look at one sample;
`curated` asks them all. Turning upstream rows into samples belongs to `ingest/`, mixing to the recipes.
"""

from typing import Final

DECISIONS: Final = (
    "withdrawn",
    "licence",
    "split",
    "single_image",
    "leakage",
    "duplicates",
    "figures",
    "captions",
)
"""What people withdrew goes for that reason, whatever else it is; then what may not be used at all, what is for
evaluation, and what the mixture has no form for. Then leakage: a sample whose picture is evaluated on is counted as
that, even where it is a duplicate. A duplicate and the sample kept in its place share their pictures, so they leak
together and none is lost between the two. Withdrawn alone, a sample takes its duplicates along: they say the same.
What models say of a sample comes last, since only that costs money or can be wrong about a good sample."""
