"""The kinds of values that settings are made of, and the words for those that have a pattern."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


def _ipv4(text: str) -> str:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        raise ValueError("an IPv4 address") from None


Address = Annotated[str, AfterValidator(_ipv4)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=7 * 86400)]
Count = Annotated[int, Field(ge=1)]

# A pattern's words, for the person who got it wrong.
PATTERNS = {
    r"^/[^\s:]*$": "an absolute path without spaces and colons",
    r"^[A-Za-z0-9][A-Za-z0-9._/:-]{0,95}$": "up to 96 letters, digits and . _ / : -",
    r"^(/[^\s:]+|[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+)$": "an absolute path or owner/name at the hub",
    r"^(/[^\s:=,]+|[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9._-]+)$": "an absolute path without = and , or owner/name",
    r"^[a-z0-9][a-z0-9-]{0,63}$": "a header name in lower case",
    r"^[a-z_]+(\.[a-z_]+)*$": "a body field such as user or metadata.user_id",
    r"^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable",
    r"^(host|[0-9]+[mg])$": "host, or a size such as 16g",
    r"^[0-9]+\.[0-9]+$": "a version such as '3.0', quoted",
    r"^[a-z0-9][a-z0-9_-]{0,31}$": "up to 32 small letters, digits, _ and -",
    r"^[0-9a-f]{64}$": "a SHA-256 digest in 64 small hexadecimal digits, as scripts/key writes it",
    r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$": "up to 64 letters, digits and . _ -",
    r"^[A-Za-z0-9.-]+:[0-9]{1,5}$": "host:port",
    r"^https?://[^\s/@]+(/\S*)?$": "a URL with http or https and no password in it",
    r"^\$2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}$": "a bcrypt hash, as `htpasswd -nBC 10 NAME` prints it after the colon",
    r"^[^\s@<>,]+@[^\s@<>,]+$": "a mail address such as gpu-ops@example.org",
    r"^[a-z0-9][a-z0-9-]{0,31}$": "up to 32 small letters, digits and -",
}
(
    PATH,
    NAME,
    SOURCE,
    ADAPTER,
    HEADER,
    FIELD,
    VARIABLE,
    MEMORY,
    VERSION,
    CLASS,
    DIGEST,
    TENANT,
    ENDPOINT,
    URL,
    BCRYPT,
    MAIL,
    SECRET,
) = PATTERNS

AbsolutePath = Annotated[str, Field(pattern=PATH)]
Name = Annotated[str, Field(pattern=NAME)]
Header = Annotated[str, Field(pattern=HEADER)]
FieldPath = Annotated[str, Field(pattern=FIELD)]
Env = dict[Annotated[str, Field(pattern=VARIABLE)], str]


class Section(BaseModel):
    """A mapping that refuses unknown keys; a key set to null is a key not set."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _null_means_default(cls, data: Any) -> Any:
        return {key: value for key, value in data.items() if value is not None} if isinstance(data, dict) else data
