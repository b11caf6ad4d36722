"""The embedded corpus and its tiny models. Nothing but `configs/sample.toml`'s build imports this room.

Real pictures come out of installed packages at run time (no pixel is committed); what a package cannot carry is drawn
by a seeded generator and flagged `synthetic`. Adapters for the real sources do not belong here: the corpus is laid
out as the publishers ship theirs and read by the same adapters.
"""

from typing import Final

LAYOUT_VERSION: Final = "6"
"""Raised when the pictures or the layout of any source change: the step runs again and lays the folders out anew."""
