"""What can be wrong with a request about channels."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, NotFoundError


class ChannelNotFoundError(NotFoundError):
    """There is no channel of this id."""

    code = "channel_not_found"

    def __init__(self) -> None:
        super().__init__("There is no sales channel of this id. List them: ecross-server channels list")


class ChannelExistsError(ConflictError):
    """There is a channel of this id."""

    code = "channel_exists"

    def __init__(self, channel_id: str) -> None:
        super().__init__(f"The sales channel {channel_id} exists already. List them: ecross-server channels list")
