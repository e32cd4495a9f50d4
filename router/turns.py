"""What of a message is read, as structs of msgspec. Apart as `router.access_line` is."""

from typing import Any

import msgspec


class Turn(msgspec.Struct, gc=False):
    """One message of a conversation, as far as its beginning matters."""

    role: Any = None
    content: Any = None


class Message(msgspec.Struct, gc=False):
    """What every message has."""

    role: str
