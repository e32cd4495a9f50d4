"""Good and bad hosts: a recorded one, and what each thing that is wrong with it becomes in the report."""

from __future__ import annotations

from typing import Any

import pytest

import stackplan
from hostplan.preflight import host_checks, report, want
from hostplan.preflight.evaluate import NO_GPU, evaluate
from roles.preflight.filter_plugins.preflight import reported
from tests.unit.hostplan.preflight.hosts import RULES, answer, changed, facts, judged, probe, texts, xml
from tests.unit.stackplan.stacks import fleet, intent, one_host

TUNING: dict[str, Any] = {
    "skipped": [],
    "warnings": [],
    "differs": {"vm.swappiness": "1"},
    "numa_nodes": {"0": "0-15", "1": "16-31"},
    "gpus": [{"address": "0000:00:06.0", "node": 0}, {"address": "0000:00:07.0", "node": 1}],
    "iommu": "passthrough",
    "acs": [],
}
XID_79 = "[9.1] NVRM: Xid (PCI:0000:00:07): 79, pid=1, GPU has fallen off the bus."


def test_a_good_host_is_ready() -> None:
    """The recorded host with everything in place: nothing refused, nothing to warn of."""
    findings = judged(facts())
    assert texts(findings, level="refused") == []
    assert texts(findings, level="warning") == []
    assert "2 x NVIDIA H200, 140 GiB, driver 580.159.04" in texts(findings, "gpus")
    assert any("2 GPUs reduce 64 MiB" in text for text in texts(findings, "NCCL"))
    assert any("2 GPUs compute (CUDA 13.0" in text for text in texts(findings, "CUDA"))
    assert any("answers of 32768 tokens at once" in text for text in texts(findings, "model fits"))


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("system", {"system": {"os": "fedora", "version": "40", "name": "Fedora 40"}}, "Fedora 40 on x86_64"),
    ("system", {"system": {"machine": "riscv64"}}, "riscv64"),
    ("system", {"system": {"kernel": "5.10.0-30-amd64"}}, "kernel 5.10"),
    ("clock", {"clock": {"asked_at": 0.0, "at": 600.0}}, "600.0 s ahead"),
    ("gpus", {"pci": {"gpus": [{"slot": "0000:00:06.0", "device": "0x2335"}]}}, "1 NVIDIA GPUs on the PCI bus"),
    ("gpus", {"smi": {"xml": "", "error": "Driver/library version mismatch"}}, "Driver/library version mismatch"),
    ("driver", {"driver": {"libraries": ["580.95.05"]}}, "580.159.04 runs with libnvidia-ml 580.95.05"),
    ("driver", {"driver": {"fabric_manager": "Fabric Manager version is : 570.195.03"}}, "Fabric Manager 570.195.03"),
    (
        "driver",
        {"driver": {"loaded": "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  535.1.2  R"}},
        "550 or newer",
    ),
    ("fabric", {"smi": {"xml": xml().replace("<state>Completed", "<state>In Progress", 1)}}, "error 802"),
    (
        "fabric",
        {"pci": {"nvswitches": 4}, "driver": {"fabric_manager_state": "inactive"}},
        "is inactive on a host with 4",
    ),
    ("gpu health", {"smi": {"xml": xml().replace("row_failure>No", "row_failure>Yes", 1)}}, "could not be replaced"),
    ("gpu health", {"smi": {"xml": xml().replace("action>None", "action>Reset", 1)}}, "asks for: Reset"),
    ("known-bad", {"containers": {"toolkit": "1.17.4"}}, "CVE-2025-23266"),
    ("known-bad", {"planned": {"toolkit": "1.19.1-1"}}, "toolkit 1.19.1-1 (planned) (toolkit-1.19.1-cuinit)"),
    ("known-bad", {"planned": {"driver": "570", "modules": "open"}}, "cuda 13.0.1 with driver 570 (planned)"),
    ("gpu model", {"declared": {"model": "H100"}}, "NVIDIA H200 was found: H100 is declared"),
    ("gpu model", {"declared": {"memory_gib": 80}}, "NVIDIA H200 with 140.4 GiB was found: 80 GiB are declared"),
    (
        "network",
        {"network": {"peers": [{"host": "b", "address": "10.0.0.9", "port": 1, "ok": False, "why": "timed out"}]}},
        "b does not answer at 10.0.0.9 (timed out)",
    ),
]


@pytest.mark.parametrize(("check", "groups", "words"), REFUSALS, ids=[words for _, _, words in REFUSALS])
def test_what_cannot_work_is_refused(check: str, groups: dict[str, Any], words: str) -> None:
    """In the house's form, with the words that tell which."""
    found = texts(judged(changed(**groups)), check, "refused")
    assert any(words in text for text in found), found
    assert all(text.count(": ") >= 1 and "; " in text for text in found)


WARNINGS: list[tuple[str, dict[str, Any], str]] = [
    ("system", {"system": {"reboot_required": True}}, "reboot-required"),
    ("clock", {"clock": {"asked_at": 0.0, "at": -9.0}}, "9.0 s behind"),
    ("clock", {"clock": {"synchronised": "no"}}, "no time service"),
    ("driver", {"driver": {"on_disk": "580.200.01"}}, "580.200.01 is installed"),
    ("driver", {"driver": {"loaded": "", "nouveau": True}, "smi": {"xml": "", "error": ""}}, "nouveau"),
    ("gpu health", {"smi": {"xml": xml().replace("row_pending>No", "row_pending>Yes", 1)}}, "waits to be replaced"),
    ("gpu health", {"smi": {"xml": xml().replace("<used>0 MiB", "<used>9000 MiB", 1)}}, "8.8 GiB are used"),
    (
        "gpu health",
        {"smi": {"xml": xml().replace("thermal_slowdown>Not Active", "thermal_slowdown>Active", 1)}},
        "too hot",
    ),
    ("gpu health", {"smi": {"xml": xml().replace("current_ecc>Enabled", "current_ecc>Disabled", 1)}}, "ECC is off"),
    ("gpu health", {"smi": {"xml": xml().replace("current_mig>Disabled", "current_mig>Enabled", 1)}}, "MIG is on"),
    (
        "gpu health",
        {"smi": {"xml": xml().replace("persistence_mode>Enabled", "persistence_mode>Disabled", 1)}},
        "is off",
    ),
    ("gpus", {"smi": {"xml": xml().replace("NVIDIA H200", "NVIDIA H100", 1)}}, "NVIDIA H100 and NVIDIA H200 together"),
    (
        "topology",
        {"tuning": {**TUNING, "warnings": ["PCIe ACS redirects: NCCL may hang; turn it off"]}},
        "ACS redirects",
    ),
]


@pytest.mark.parametrize(("check", "groups", "words"), WARNINGS, ids=[words for _, _, words in WARNINGS])
def test_what_may_work_is_a_warning(check: str, groups: dict[str, Any], words: str) -> None:
    """It does not stop a deployment."""
    findings = judged(changed(**groups))
    assert any(words in text for text in texts(findings, check, "warning")), texts(findings, check)
    assert not texts(findings, check, "refused")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memlock": 8_388_608}, "memlock 8388608"),
        ({"nofile": 1024}, "nofile 1024"),
        ({"stack": 1_048_576}, "stack 1048576"),
    ],
)
def test_limits_that_are_too_small_for_an_engine_are_a_warning(limits: dict[str, int], words: str) -> None:
    """What the container was given, each with what is needed and where to set it."""
    found = texts(judged(facts(), [probe(limits={**answer()["limits"], **limits})]), "container limits", "warning")
    assert len(found) == 1
    assert words in found[0]


def test_limits_without_an_end_are_enough() -> None:
    """-1 is how Linux says so."""
    endless = [probe(limits={"memlock": -1, "nofile": -1, "stack": -1})]
    assert not texts(judged(facts(), endless), "container limits", "warning")


def without_images(free_gib: float) -> dict[str, Any]:
    found = changed(disk={"docker": {"path": "/var/lib/docker", "free_bytes": int(free_gib * 2**30)}})
    found["images"] = {name: {"present": False, "cuda": ""} for name in found["images"]}
    return found


@pytest.mark.parametrize(("free_gib", "level"), [(20, "refused"), (30, "warning"), (60, "")])
def test_images_without_room_are_refused_and_little_room_is_a_warning(free_gib: float, level: str) -> None:
    """An engine image of 25 GiB does not fit in 20; what is left beside it is a matter of taste."""
    findings = judged(without_images(free_gib), [])
    assert [each.level.value for each in findings if each.check == "disk"] == ([level] if level else [])


def test_declared_gpus_that_are_there_are_said_and_undeclared_ones_are_not() -> None:
    """A tenth of doubt: 141 GB of an H200 are 140.4 GiB."""
    assert texts(judged(changed(declared={"model": "h200", "memory_gib": 141})), "gpu model") == [
        "h200, 141 GiB as declared"
    ]
    assert texts(judged(changed(declared={"model": "", "memory_gib": 0})), "gpu model") == []


def test_where_gpus_are_and_what_redirects_is_in_the_report() -> None:
    """As information, for people and in the data; a host where nobody looked has no such line."""
    findings = judged(changed(tuning=TUNING))
    assert texts(findings, "topology") == [
        "NUMA 0: CPUs 0-15, 1: CPUs 16-31; GPUs: 1 on node 0, 1 on node 1; IOMMU passthrough; ACS redirects nowhere"
    ]
    assert texts(findings, "host tuning", "ok") == ["a deployment sets vm.swappiness"]
    assert texts(judged(facts()), "topology") == []


def test_a_host_whose_driver_is_still_to_come_is_not_refused() -> None:
    """GPUs on the bus and nothing else: preparing it is the next step, not a mistake."""
    bare = changed(driver={"loaded": "", "libraries": []}, smi={"xml": "", "error": "nvidia-smi is not installed"})
    findings = judged(bare, [])
    assert texts(findings, level="refused") == []
    assert any("playbooks/prepare.yml" in text for text in texts(findings, "driver", "warning"))


def test_a_fatal_xid_is_refused_until_the_gpu_has_computed() -> None:
    """A log does not forget: a GPU that computes now was reset since."""
    broken = changed(kernel_log={"lines": [XID_79]})
    assert any("XID 79 of GPU 0000:00:07.0" in text for text in texts(judged(broken, []), "kernel log", "refused"))
    assert not texts(judged(broken), "kernel log", "refused")
    assert texts(judged(broken), "kernel log", "warning")


def test_xids_of_programs_are_counted_and_nothing_else() -> None:
    """13 and 31 are a program's fault."""
    lines = ["NVRM: Xid (PCI:0000:00:07): 31, pid=1", "NVRM: Xid (PCI:0000:00:07): 31, pid=2"]
    assert texts(judged(changed(kernel_log={"lines": lines})), "kernel log") == ["no fatal XID; others: 31 (2 times)"]


def test_a_log_that_cannot_be_read_is_said() -> None:
    """Never `no XID`."""
    assert "cannot be read" in texts(judged(changed(kernel_log={"source": "", "lines": []})), "kernel log")[0]


@pytest.mark.parametrize(
    ("values", "check", "words"),
    [
        (
            {"error": "RuntimeError: Error 802: system not yet initialized", "all_reduce": None},
            "CUDA",
            "Fabric Manager",
        ),
        ({"error": "CUDA driver version is too old (found 12080)", "all_reduce": None}, "CUDA", "upgrade it"),
        ({"gpus": answer()["gpus"][:1]}, "CUDA", "1 GPUs in the container"),
        (
            {"gpus": [answer()["gpus"][0], {**answer()["gpus"][1], "error": "a product of ones gave 0"}]},
            "CUDA",
            "GPU 1",
        ),
        (
            {"all_reduce": {"world": 2, "error": "no answer of rank 0 in time", "hung": True}},
            "NCCL",
            "NCCL_P2P_DISABLE",
        ),
        ({"shm_bytes": 64 * 2**20}, "container limits", "0.06 GiB of shared memory"),
    ],
)
def test_what_fails_in_the_engine_image_is_refused(values: dict[str, Any], check: str, words: str) -> None:
    """With the cause behind CUDA's number, as far as it is known."""
    assert any(words in text for text in texts(judged(facts(), [probe(**values)]), check, "refused"))


def test_a_hang_with_an_iommu_names_the_iommu() -> None:
    """The usual cause on PCIe boxes."""
    hang = [probe(all_reduce={"world": 2, "error": "no answer of rank 0 in time"})]
    assert "IOMMU is on" in texts(judged(changed(system={"iommu": True}), hang), "NCCL", "refused")[0]


def test_a_probe_that_was_left_out_says_why() -> None:
    """Neither good nor bad."""
    left = [{**probe(), "answer": None, "skipped": "an engine uses these GPUs now"}]
    assert texts(judged(facts(), left), "CUDA", "skipped") == ["engine-qwen-0: an engine uses these GPUs now"]


def test_an_image_that_does_not_start_is_refused_with_what_docker_said() -> None:
    """Unresolvable CDI devices, for instance."""
    failed = [{**probe(), "answer": None, "error": "unresolvable CDI devices nvidia.com/gpu=0"}]
    assert "unresolvable CDI" in texts(judged(facts(), failed), "CUDA", "refused")[0]


def test_a_model_that_does_not_fit_is_refused() -> None:
    """Through the plan: length, share and the operator's flags."""
    small = changed(smi={"xml": xml().replace("143771 MiB", "10000 MiB")})
    assert any("set " in text for text in texts(judged(small), "model fits", "refused"))


def test_missing_images_and_silent_registries_are_said_once() -> None:
    """A warning: Docker may have a mirror that this check does not know."""
    found = facts()
    found["images"] = {name: {"present": False, "cuda": ""} for name in found["images"]}
    findings = judged(found)
    assert len(texts(findings, "images", "warning")) >= 1
    assert all("does not answer" in text for text in texts(findings, "images", "warning"))


def test_weights_from_a_hub_that_is_silent_are_refused() -> None:
    """Without them an engine would fail in its first minute."""
    stack = stackplan.plan(intent(), one_host(2))
    (findings,) = evaluate(stack, {"box": facts(stack)}, RULES).values()
    assert any("Qwen/Qwen3-8B" in text for text in texts(findings, "weights", "refused"))


def test_with_a_bundle_no_registry_and_no_hub_is_asked() -> None:
    """A site without a route out is not refused for having none."""
    stack = stackplan.offline(stackplan.plan(intent(), one_host(2)))
    assert want.questions(stack, "box")["urls"] == []
    found = facts(stack)
    found["images"] = {name: {"present": False, "cuda": ""} for name in found["images"]}
    (findings,) = evaluate(stack, {"box": found}, RULES).values()
    assert any("from the bundle" in text for text in texts(findings, "images", "ok"))
    assert not texts(findings, "weights", "refused")


def test_a_host_without_gpus_is_not_asked_for_any() -> None:
    """One line instead of ten checks, whatever the bus holds."""
    stack = stackplan.plan(intent(engines={"device": "cpu"}), one_host(0))
    (findings,) = evaluate(stack, {"box": facts(stack)}, RULES).values()
    assert texts(findings, "gpus") == [NO_GPU]
    assert not {"driver", "fabric", "CUDA", "gpu health"} & {each.check for each in findings}


@pytest.mark.parametrize(
    ("at", "skew"), [(100.0, 0.0), (107.0, 0.0), (112.0, 0.0), (113.0, 1.0), (175.0, 63.0), (99.0, -1.0), (30.0, -70.0)]
)
def test_a_slow_controller_is_no_clock_that_is_wrong(at: float, skew: float) -> None:
    """Asked at 100 and answered at 112: what a host read between them proves nothing against its clock."""
    assert host_checks.skew_of({"asked_at": 100.0, "answered_at": 112.0, "at": at}) == skew


def test_clocks_of_hosts_are_compared_with_each_other() -> None:
    """Each is near enough to ours, and two are too far apart."""
    stack = stackplan.plan(intent(), fleet())
    times = {"edge-1": 0.0, "edge-2": -4.0, "gpu-1": 4.0, "gpu-2": 0.5}
    gathered = {host: changed(clock={"asked_at": 0.0, "at": at}) for host, at in times.items()}
    gathered["edge-2"]["clock"]["at"] = -4.9
    findings = evaluate(stack, gathered, RULES)
    assert [
        host for host, all_of in findings.items() if any("other hosts" in text for text in texts(all_of, "clock"))
    ] == ["edge-2"]


def test_every_host_is_asked_for_those_it_talks_to() -> None:
    """Edges reach engines, Prometheus reaches all, engines nobody."""
    stack = stackplan.plan(intent(), fleet())
    asked = {host: [each["host"] for each in want.peers(stack, host)] for host in ("edge-1", "edge-2", "gpu-1")}
    assert asked == {"edge-1": ["edge-2", "gpu-1", "gpu-2"], "edge-2": ["edge-1", "gpu-1", "gpu-2"], "gpu-1": []}


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("vllm/vllm-openai:v1", "registry-1.docker.io"),
        ("haproxy:3.0", "registry-1.docker.io"),
        ("nvcr.io/nvidia/k8s/dcgm-exporter:4", "nvcr.io"),
        ("localhost/x:1", "localhost"),
        ("registry:5000/x:1", "registry:5000"),
    ],
)
def test_the_registry_is_what_looks_like_a_host(image: str, registry: str) -> None:
    """As Docker reads a name."""
    assert want.registry(image) == registry


def test_all_refusals_of_all_hosts_come_at_once() -> None:
    """With what the roles' own checks said, each beginning with its host."""
    stack = stackplan.plan(intent(), fleet())
    gathered = {
        host: {"facts": facts(stack), "probes": [], "problems": {"docker": [f"{host}: docker: daemon.json is broken"]}}
        for host in ("edge-1", "gpu-1")
    }
    found = reported(stack, gathered, 1)
    assert "edge-1: docker: daemon.json is broken" in found["refusals"]
    assert "gpu-1: docker: daemon.json is broken" in found["refusals"]
    assert found["lines"][-1] == "No change so far."
    assert found["data"]["refused"] == len(found["refusals"])


def test_the_report_as_data_keeps_its_form() -> None:
    """Programs read it: version, totals, hosts with state and findings."""
    data = report.as_json({"box": judged(facts())})
    assert set(data) == {"version", "refused", "warnings", "hosts"}
    assert (data["version"], data["hosts"]["box"]["state"]) == (1, "ok")
    assert all(set(each) == {"check", "level", "text"} for each in data["hosts"]["box"]["findings"])
    assert {each["level"] for each in data["hosts"]["box"]["findings"]} <= {"ok", "skipped", "warning", "refused"}


def test_the_table_shows_the_worst_first_and_ends_as_every_check_does() -> None:
    """A person reads the first lines."""
    lines = report.as_lines({"box": judged(changed(containers={"toolkit": "1.17.4"}))})
    assert lines[0] == "box: 1 refused"
    assert lines[1].startswith("  REFUSED known-bad")
    assert lines[-1] == "No change so far."
    assert max(map(len, lines)) <= report.WIDTH
