"""What can be wrong with a job."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, Fault, InvalidInputError, NotFoundError


class JobNotFoundError(NotFoundError):
    """No dead job has this number."""

    code = "job_not_found"

    def __init__(self, job_id: int) -> None:
        super().__init__(f"No dead job has the number {job_id}. List them: ecross-server jobs list")


class PayloadError(InvalidInputError):
    """What was to be queued is no job that could be kept."""

    code = "invalid_payload"

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path} {reason}", (Fault(path, reason),))


class LostClaimError(ConflictError):
    """The job is another process's by now: what this one has done in its transaction is undone."""

    code = "lost_claim"

    def __init__(self) -> None:
        super().__init__("The job is another process's by now.")
