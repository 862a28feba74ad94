"""What the tests of `app` share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raises, configuration = (
        root.handlers[:],
        root.level,
        logging.raiseExceptions,
        structlog.get_config(),
    )
    yield
    structlog.configure(**configuration)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises
