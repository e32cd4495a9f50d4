"""A wall clock that can be put forward and back under programs that run, as a person or a bad time server does.

libfaketime would do it, too, but breaks sleeps on the monotonic clock, which every wait here is made of.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("wall_clock.c")


class WallClock:
    """What programs under it are told is this machine's time and an offset, which may change at any moment."""

    def __init__(self, folder: Path) -> None:
        self._file, self._library = folder / "ahead", folder / "wall_clock.so"
        self._file.write_bytes(bytes(8))
        command = ["cc", "-Wall", "-Werror", "-O2", "-shared", "-fPIC", "-o", str(self._library), str(SOURCE)]
        subprocess.run(command, check=True)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program must be started with."""
        return {"LD_PRELOAD": str(self._library), "WALL_CLOCK_AHEAD": str(self._file)}

    def jump_to(self, seconds: int) -> None:
        """Be so many seconds ahead of this machine's clock from now on."""
        # In place: programs have mapped these octets.
        with self._file.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))
