"""Where things are: in this checkout and on the machine."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "demo"
INVENTORY = ROOT / "inventories" / "demo"
LOCAL_SETTINGS = INVENTORY / "group_vars" / "all" / "local.yml"
STACK_ROOT = Path("/opt/ironrack")
MODELS = STACK_ROOT / "models"
