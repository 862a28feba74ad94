"""What calls give back: frozen values in the words of the field. The wire's spelling stops here."""

from ecross.types.pages import Page
from ecross.types.skus import ChannelStatus, SaleChannelData, Sku, SkuAttribute
from ecross.types.tokens import AccessToken

__all__ = ["AccessToken", "ChannelStatus", "Page", "SaleChannelData", "Sku", "SkuAttribute"]
