"""All tables of the code: every domain's models are imported here, and their names gathered."""

from __future__ import annotations

from typing import Final

import ecross_server.approvals.models
import ecross_server.audit.models
import ecross_server.catalog.models
import ecross_server.channels.models
import ecross_server.handover.models
import ecross_server.inventory.models
import ecross_server.jobs.models
import ecross_server.localization.models
import ecross_server.merchants.models
import ecross_server.operators.models
import ecross_server.publication.models
import ecross_server.web.idempotency  # noqa: F401 - imported for the tables that they declare
from ecross_server.kit.database import Base

METADATA: Final = Base.metadata
NAMES: Final = frozenset(METADATA.tables)
