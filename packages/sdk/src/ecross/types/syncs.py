"""What becomes of a whole catalog or stock list that is brought to the server."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SyncFault:
    """One fault, never with the value that is at fault.

    `line` is the line of the file, from 1; of an iterable the place of the entry, from 1; `None` for a fault of the
    whole. `path` names the field as the API does; it is empty for the line itself.
    """

    line: int | None
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class SyncRefusal:
    """A product, or a stock record, that was not taken over, and why.

    `key` is the product's id; of a stock record `{skuId}/{warehouseId}/{inventoryType}`; `None` for a line of which
    neither can be told.
    """

    key: str | None
    faults: tuple[SyncFault, ...]


@dataclass(frozen=True, slots=True)
class SyncFailure:
    """A product, or a stock record, of which it is not known whether it arrived. The next run sends it again."""

    key: str
    lines: tuple[int, ...]
    message: str


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """How far it is. `stage` is `reading`, `comparing` or `sending`; `total` is `None` where nobody knows it yet."""

    stage: str
    done: int
    total: int | None
    refused: int = 0


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What became of a source. `sent`, `unchanged`, `refused`, `failed`, `left_over` and `absent` count products.

    Of stock they count records, each of one SKU. In a dry run `sent` is what would be sent, and `refused` what the
    client itself can tell to be refused. All are whole counts; of refusals and failures the first 1,000 are listed.
    """

    is_dry_run: bool
    stopped_by: str | None
    """Why it ended before its end; the next run goes on from there."""
    sent: int
    unchanged: int
    refused: int
    failed: int
    left_over: int
    """Not sent, because it was stopped before."""
    absent: int
    """Known to the server and not in the source: they are left alone."""
    skus_sent: int
    skus_unchanged: int
    skus_removed: int
    """Of the products that were sent: they had them, and the source does not."""
    refusals: tuple[SyncRefusal, ...]
    failures: tuple[SyncFailure, ...]
    seconds: float

    @property
    def is_whole(self) -> bool:
        """Whether the server now has all of the source."""
        return not (self.is_dry_run or self.refused or self.failed or self.left_over or self.stopped_by)

    @property
    def skus_per_second(self) -> float:
        """SKUs sent a second, reading and comparing included."""
        return self.skus_sent / self.seconds if self.seconds else 0.0
