"""All tables of the code: every domain's models are imported here, and their names gathered."""

from __future__ import annotations

from typing import Final

import ecross_server.audit.models
import ecross_server.catalog.models
import ecross_server.merchants.models  # noqa: F401 - imported for the tables that it declares
from ecross_server.kit.database import Base

METADATA: Final = Base.metadata
NAMES: Final = frozenset(METADATA.tables)
