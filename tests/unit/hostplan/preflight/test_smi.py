"""What nvidia-smi says, read from a recording of two H200 and from what it becomes when something is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hostplan.preflight import smi, xids
from tests.unit.hostplan.preflight.hosts import xml

FATAL = {79: "the GPU fell off the bus"}
SHIPPED = yaml.safe_load((Path(xids.__file__).parents[1] / "data" / "xids.yml").read_text())


def test_recorded_gpus_are_read_whole() -> None:
    """Names, memory, ECC, fabric: as the card says them."""
    found = smi.parse(xml())
    assert found is not None
    assert (found.driver, found.cuda, len(found.gpus)) == ("580.159.04", "13.0", 2)
    gpu = found.gpus[1]
    assert (gpu.index, gpu.slot, gpu.name) == (1, "0000:00:07.0", "NVIDIA H200")
    assert gpu.memory_bytes == 143771 * smi.MIB
    assert (gpu.ecc, gpu.fabric_state, gpu.fabric_status) == ("Enabled", "Completed", "Success")
    assert not any((gpu.remap_pending, gpu.remap_failed, gpu.mig, gpu.throttled, gpu.recovery, gpu.uncorrected))


@pytest.mark.parametrize(
    ("was", "becomes", "field", "value"),
    [
        ("<remapped_row_pending>No", "<remapped_row_pending>Yes", "remap_pending", True),
        ("<gpu_recovery_action>None", "<gpu_recovery_action>Reset", "recovery", "Reset"),
        ("<current_mig>Disabled", "<current_mig>Enabled", "mig", True),
        ("<dram_uncorrectable>0", "<dram_uncorrectable>3", "uncorrected", 3),
        ("hw_thermal_slowdown>Not Active", "hw_thermal_slowdown>Active", "throttled", ("too hot (hardware)",)),
        ("gpu_idle>Active", "gpu_idle>Not Active", "throttled", ()),
        ("<current_ecc>Enabled", "<current_ecc>N/A", "ecc", ""),
    ],
)
def test_each_complaint_is_read(was: str, becomes: str, field: str, value: object) -> None:
    """Each value comes from its own element, and idling is no complaint."""
    found = smi.parse(xml().replace(was, becomes, 1))
    assert found is not None
    assert getattr(found.gpus[0], field) == value


def test_old_names_of_elements_are_read_too() -> None:
    """`throttle` became `event` with branch 535."""
    old = xml().replace("clocks_event", "clocks_throttle").replace("hw_slowdown>Not Active", "hw_slowdown>Active", 1)
    found = smi.parse(old)
    assert found is not None
    assert found.gpus[0].throttled == ("hardware slowdown",)


@pytest.mark.parametrize("text", ["", "<nvidia_smi_log>", "Failed to initialize NVML: Driver/library version mismatch"])
def test_an_answer_that_is_broken_off_is_none(text: str) -> None:
    """Never a host with 0 GPUs."""
    assert smi.parse(text) is None


@pytest.mark.parametrize(
    ("line", "slot", "number", "fatal"),
    [
        (
            "[1.2] NVRM: Xid (PCI:0000:17:00): 79, pid='<unknown>', GPU has fallen off the bus.",
            "0000:17:00.0",
            79,
            True,
        ),
        ("kernel: NVRM: Xid (PCI:0000:17:00.0): 31, pid=12, name=python3, MMU Fault", "0000:17:00.0", 31, False),
        # As driver 580 wrote it when a kernel wrote to an address that is nowhere.
        (
            "[   37.625966] NVRM: Xid (PCI:0000:00:06): 31, pid=495, name=bad, channel 0x0000000a. MMU Fault",
            "0000:00:06.0",
            31,
            False,
        ),
        ("NVRM: Xid (0000:3b:00): 13, Graphics Exception", "0000:3b:00.0", 13, False),
        (
            "NVRM: Xid (PCI:0000:17:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Reboot)",
            "0000:17:00.0",
            154,
            True,
        ),
        (
            "NVRM: Xid (PCI:0000:17:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)",
            "0000:17:00.0",
            154,
            False,
        ),
    ],
)
def test_an_xid_is_read_with_its_gpu(line: str, slot: str, number: int, fatal: bool) -> None:
    """The slot as the kernel names it; 154 is as bad as its words."""
    found = xids.parse(line, FATAL)
    assert found is not None
    assert (found.slot, found.number, bool(found.fatal)) == (slot, number, fatal)


@pytest.mark.parametrize("line", ["", "NVRM: loading NVIDIA UNIX", "usb 1-1: Xid (PCI:0000:17:00): 79"])
def test_other_lines_tell_of_no_xid(line: str) -> None:
    """Only the driver's own words count."""
    assert xids.parse(line, FATAL) is None


@pytest.mark.parametrize("number", [46, 48, 62, 64, 74, 79, 95, 109, 110, 119, 120, 136, 140, 143, 151, 155, 156, 158])
def test_xid_that_needs_a_reset_is_fatal(number: int) -> None:
    """As the driver's maker lists them: nothing else brings such a GPU back."""
    found = xids.parse(f"NVRM: Xid (PCI:0000:01:00): {number}, pid=1, name=x", SHIPPED)
    assert found is not None
    assert found.fatal


@pytest.mark.parametrize("number", [13, 31, 43, 45, 63, 68, 69, 92, 94, 121, 137, 142, 157])
def test_xid_that_ends_a_program_at_most_is_not_fatal(number: int) -> None:
    """A GPU that still computes is not drained: a restart of the program, or nothing, is what the list asks for."""
    found = xids.parse(f"NVRM: Xid (PCI:0000:01:00): {number}, pid=1, name=x", SHIPPED)
    assert found is not None
    assert not found.fatal
