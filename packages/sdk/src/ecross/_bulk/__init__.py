"""Whole catalogs and stock lists: read, grouped, compared with what the server has, and sent in parallel.

Most programs bring none, so what does it is loaded by those that do: here are the few names that all clients need.
"""

from ecross._bulk.places import Place, Source

__all__ = ["Place", "Source"]
