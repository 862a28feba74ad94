"""What calls take and give back: frozen values in the words of the field. The wire's spelling stops here."""

from ecross.types.inventory import InventoryRecord, ReturnedOrder, SellableStock
from ecross.types.pages import Page
from ecross.types.sku_drafts import SkuDraft
from ecross.types.skus import ChannelStatus, SaleChannelData, Sku, SkuAttribute
from ecross.types.syncs import SyncFailure, SyncFault, SyncProgress, SyncRefusal, SyncReport
from ecross.types.tokens import AccessToken

__all__ = [
    "AccessToken",
    "ChannelStatus",
    "InventoryRecord",
    "Page",
    "ReturnedOrder",
    "SaleChannelData",
    "SellableStock",
    "Sku",
    "SkuAttribute",
    "SkuDraft",
    "SyncFailure",
    "SyncFault",
    "SyncProgress",
    "SyncRefusal",
    "SyncReport",
]
