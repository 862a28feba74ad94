"""The clients that merchants use, and authentication for those who send with `httpx2` themselves."""

from ecross._client.asynchronous import AsyncClient
from ecross._client.httpx_auth import EcrossAuth
from ecross._client.synchronous import Client

__all__ = ["AsyncClient", "Client", "EcrossAuth"]
