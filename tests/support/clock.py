"""A wall clock that can be put forward and back under programs that run, as an administrator or a bad NTP server does.

libfaketime is loaded into them and changes what they are told the time is. Monotonic time and the times of files stay
the kernel's, as they would with a real jump.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

READ_EVERY_SECONDS = 1
# The one for threads, wherever this machine's architecture has it.
_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))


class WallClock:
    """The offset of a clock from this machine's, in a file that the programs under it read again every second."""

    def __init__(self, file: Path) -> None:
        assert _LIBRARIES, "libfaketime: not found: apt-get install faketime, or scripts/bootstrap test"
        self._file = file
        self.jump_to(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What a program must be started with."""
        return {
            "LD_PRELOAD": str(_LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(READ_EVERY_SECONDS),
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # the same, by its newer name
            "NO_FAKE_STAT": "1",
        }

    def jump_to(self, seconds: int) -> None:
        """Be so many seconds ahead of this machine's clock from now on."""
        new = self._file.with_name(f"{self._file.name}.new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)
