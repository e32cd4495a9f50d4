"""Inside the engine image: does each GPU compute, and do they reduce together? One line of JSON says so.

    python3 gpu_probe.py SECONDS     every GPU that is visible here, within so many seconds

A list of GPUs proves little: a container can show eight of them and fail at the first call. So each one multiplies two
matrices whose product is known, and all of them together sum a vector through NCCL, as tensor parallelism will.
Changes nothing and allocates less than 1 GiB on each GPU.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any

SIZE = 2048  # of the square matrices; a product of ones is exact in bfloat16
ELEMENTS = 16 * 2**20  # 64 MiB in float32: long enough to cross whatever links the GPUs
MOST_TEXT = 2000


def compute(torch: Any, index: int) -> dict[str, Any]:
    """One GPU: its name, and what is wrong with a product that is known."""
    found = {"index": index, "name": torch.cuda.get_device_name(index), "error": ""}
    found["memory_bytes"] = torch.cuda.get_device_properties(index).total_memory
    found["capability"] = ".".join(map(str, torch.cuda.get_device_capability(index)))
    ones = torch.ones((SIZE, SIZE), dtype=torch.bfloat16, device=f"cuda:{index}")
    product = ones @ ones
    torch.cuda.synchronize(index)
    lowest, highest = float(product.min()), float(product.max())
    if (lowest, highest) != (SIZE, SIZE):
        found["error"] = f"a product of ones gave {lowest:g} to {highest:g} instead of {SIZE}"
    return found


def here() -> dict[str, Any]:
    """What this container has, and each GPU by itself."""
    limits = {
        "memlock": resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        "stack": resource.getrlimit(resource.RLIMIT_STACK)[0],
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    }
    shm = os.statvfs("/dev/shm")
    found: dict[str, Any] = {"limits": limits, "shm_bytes": shm.f_blocks * shm.f_frsize, "gpus": [], "error": ""}
    try:
        import torch  # noqa: PLC0415 - the image's own; its absence is an answer

        found |= {"torch": torch.__version__, "cuda": torch.version.cuda, "nccl": ""}
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        found["gpus"] = [compute(torch, index) for index in range(torch.cuda.device_count())]
    except Exception as error:  # whatever CUDA says is the answer
        found["error"] = f"{type(error).__name__}: {error}"[:MOST_TEXT]
    return found


def reduce_as(rank: int, world: int, meeting: str) -> dict[str, Any]:
    """One member of the all-reduce: the sum of all ranks, twice, the second time timed."""
    import torch  # noqa: PLC0415 - as above
    import torch.distributed as dist  # noqa: PLC0415 - as above

    torch.cuda.set_device(rank)
    dist.init_process_group("nccl", init_method=f"file://{meeting}", rank=rank, world_size=world)
    wanted, seconds, right = sum(range(1, world + 1)), 0.0, True
    for _ in range(2):
        vector = torch.full((ELEMENTS,), float(rank + 1), device=f"cuda:{rank}")
        torch.cuda.synchronize(rank)
        began = time.monotonic()
        dist.all_reduce(vector)
        torch.cuda.synchronize(rank)
        seconds = time.monotonic() - began
        right = right and float(vector.min()) == float(vector.max()) == wanted
    dist.destroy_process_group()
    return {"seconds": seconds, "right": right, "bytes": ELEMENTS * 4}


def together(world: int, seconds: float) -> dict[str, Any]:
    """All GPUs in one NCCL group, one process each; who does not come back in time is ended."""
    with tempfile.TemporaryDirectory() as folder:
        argv = [sys.executable, os.path.abspath(__file__), str(seconds)]
        members = [
            subprocess.Popen(
                [*argv, str(rank), str(world), f"{folder}/meeting"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            for rank in range(world)
        ]
        return collected(members, time.monotonic() + seconds)


def collected(members: list[subprocess.Popen[bytes]], until: float) -> dict[str, Any]:
    """What the members said; one that hangs makes all of them hang."""
    said: list[dict[str, Any]] = []
    found: dict[str, Any] = {"world": len(members), "error": ""}
    for rank, member in enumerate(members):
        try:
            out, err = member.communicate(timeout=max(0.1, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            for each in members:
                each.kill()
            return {
                **found,
                "error": f"no answer of rank {rank} in time: the GPUs do not reach each other",
                "hung": True,
            }
        if member.returncode:
            tail = err.decode(errors="replace").strip().splitlines()[-1:] or ["nothing was said"]
            found["error"] = found["error"] or f"rank {rank}: {tail[0]}"[:MOST_TEXT]
        else:
            said.append(json.loads(out.decode().strip().splitlines()[-1]))
    if not found["error"] and not all(each["right"] for each in said):
        found["error"] = "the sum was wrong"
    return {**found, "seconds": max((each["seconds"] for each in said), default=0.0), "bytes": ELEMENTS * 4}


def main(argv: list[str]) -> int:
    """Print the answer; always 0, the answer says what failed."""
    if len(argv) == 5:
        print(json.dumps(reduce_as(int(argv[2]), int(argv[3]), argv[4])))
        return 0
    found = here()
    count = len(found["gpus"])
    found["all_reduce"] = together(count, float(argv[1])) if count and not found["error"] else None
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
