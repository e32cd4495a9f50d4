"""A key for a client: shown once, of which only the digest is kept. `python -m stackplan.keys NAME`."""

from __future__ import annotations

import argparse
import hashlib
import re
import secrets
import sys

PREFIX = "sk-"
_OCTETS = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def digest(key: str) -> str:
    """What is written down of a key: SHA-256, in small hexadecimal digits. Its 256 random bits need no salt."""
    return hashlib.sha256(key.encode()).hexdigest()


def main(argv: list[str] | None = None) -> int:
    """Print a new key, and the lines that make it known. Exit 2 for a name that no tenant can have."""
    parser = argparse.ArgumentParser(prog="scripts/key", description="Make an API key for a tenant, or a token.")
    parser.add_argument("name", help="the tenant's name in stack_edge.tenants; admin for the operators' token")
    name = parser.parse_args(argv).name
    if not _NAME.fullmatch(name):
        sys.stderr.write(f"name: {name!r} was found: up to 64 letters, digits and . _ - are allowed; correct it\n")
        return 2
    key = PREFIX + secrets.token_urlsafe(_OCTETS)
    lines = _lines(name, digest(key))
    sys.stdout.write(f"key, shown this once: {key}\n\nfor stack.yml, and then playbooks/site.yml:\n{lines}\n")
    return 0


def _lines(name: str, hashed: str) -> str:
    if name == "admin":
        return f"stack_edge:\n  admin:\n    token_hash: {hashed}"
    return f"stack_edge:\n  tenants:\n    - name: {name}\n      key_hashes: [{hashed}]"


if __name__ == "__main__":
    sys.exit(main())
