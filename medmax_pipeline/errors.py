"""Our exceptions. Each message says what was found, what was expected and what to do.

    MedmaxError
    ├── ConfigError        a build, recipe or job file does not say what it should
    ├── StoreError         the store cannot be read or written
    │   ├── DiskFull       no space left; the published version is untouched
    │   ├── StepBusy       another process is working on the same artifact
    │   ├── NotPublished   an input has no published version in this build
    │   └── Imbalance      in != kept + dropped + quarantined
    ├── FetchError         a publisher's file did not arrive; it locks the source and does not fail the build
    ├── ArchiveError       an archive or a file in it cannot be trusted or read
    ├── ImageError         a picture cannot be used; `reason` is the name under which it is quarantined
    ├── RowError           an upstream row has a shape that no rule of its adapter covers
    ├── TokenError         ids, codes or a tokenizer that do not fit each other
    ├── WeightsError       a weights folder is incomplete, or is another network's
    ├── EndpointError      a language model's endpoint answers nothing more: its key, its budget, its address
    └── LaunchError        a launched process ended badly; the message holds the end of its output

Errors of ours (bugs) are plain assertions and built-in exceptions. Nothing that belongs to one station lives here.
"""

from __future__ import annotations


class MedmaxError(Exception):
    """Anything the user or the user's data can mend."""


class ConfigError(MedmaxError):
    """A build, recipe or job file does not say what it should."""


class StoreError(MedmaxError):
    """The store cannot be read or written."""


class DiskFull(StoreError):
    """No space left on the device; what was published before is untouched."""


class StepBusy(StoreError):
    """Another live process holds the lock of this artifact."""


class NotPublished(StoreError):
    """An input of a step has no published version in this build."""


class Imbalance(StoreError):
    """A step lost or invented units: in != kept + dropped + quarantined."""


class FetchError(MedmaxError):
    """A publisher's file did not arrive.

    Attributes:
        reason: what happened, the same words each time it happens.
        cure: what would let the file come.
    """

    def __init__(self, reason: str, cure: str) -> None:
        super().__init__(f"{reason} {cure}")
        self.reason = reason
        self.cure = cure


class ArchiveError(MedmaxError):
    """An archive, or a member of one, cannot be trusted or read."""


class ImageError(MedmaxError):
    """A picture cannot be used.

    Attributes:
        reason: the name under which the picture is quarantined, e.g. `image_truncated`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class RowError(MedmaxError):
    """An upstream row has a shape that no rule of its adapter covers."""


class TokenError(MedmaxError):
    """Ids, codes or a tokenizer that do not fit each other."""


class WeightsError(MedmaxError):
    """A weights folder is incomplete, or is another network's."""


class EndpointError(MedmaxError):
    """A language model's endpoint answers nothing more; what it answered is kept."""


class LaunchError(MedmaxError):
    """A launched process ended badly.

    Attributes:
        reason: why, in one word of `launching/ends.py`, a cluster or the follower; `failed`: nothing more is known.
    """

    def __init__(self, message: str, reason: str = "failed") -> None:
        super().__init__(message)
        self.reason = reason
