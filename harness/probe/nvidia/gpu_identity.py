"""Who a GPU is, and how it is set: what two runs must share to be compared. Source: "NVML API Reference"."""

from __future__ import annotations

import pynvml

from harness.probe.nvidia.nvml import Handle, Nvml
from harness.probe.nvidia.nvml_fields import NvmlFields
from harness.schema.result import GpuEnvironment

COMPUTE_MODES = {
    pynvml.NVML_COMPUTEMODE_DEFAULT: "Default",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_THREAD: "Exclusive_Thread",
    pynvml.NVML_COMPUTEMODE_PROHIBITED: "Prohibited",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "Exclusive_Process",
}
"""The modes under the names that `nvidia-smi --query-gpu=compute_mode` gives them."""


def identity(nvml: Nvml, gpu: Handle, fields: NvmlFields) -> GpuEnvironment:
    """The identity and settings of a whole GPU."""

    def text(field: str, call: str, of: Handle | None = gpu) -> str | None:
        return fields.ask(lambda: nvml.text(of, call), field)

    def number(field: str, call: str, *arguments: int, of: Handle | None = gpu) -> int | None:
        return fields.ask(lambda: nvml.number(of, call, *arguments), field)

    def watts(field: str, call: str) -> float | None:
        milliwatts = number(field, call)
        return None if milliwatts is None else milliwatts / 1e3

    def hertz(field: str, call: str, clock: int) -> float | None:
        megahertz = number(field, call, clock)
        return None if megahertz is None else megahertz * 1e6

    def flag(field: str, call: str) -> bool | None:
        on = number(field, call)
        return None if on is None else bool(on)

    index = int(gpu.name)
    capability = fields.ask(
        lambda: nvml.numbers(gpu, "nvmlDeviceGetCudaComputeCapability"), "compute_capability"
    )
    cuda = number("cuda_driver", "nvmlSystemGetCudaDriverVersion", of=None)
    mode = number("compute_mode", "nvmlDeviceGetComputeMode")
    sm, memory = pynvml.NVML_CLOCK_SM, pynvml.NVML_CLOCK_MEM
    return GpuEnvironment(
        device=index,
        name=text("name", "nvmlDeviceGetName") or "unknown GPU",
        uuid=text("uuid", "nvmlDeviceGetUUID") or f"unknown-{index}",
        memory_bytes=number("memory_bytes", "nvmlDeviceGetMemoryInfo"),
        driver=text("driver", "nvmlSystemGetDriverVersion", of=None),
        cuda_driver=None if cuda is None else f"{cuda // 1000}.{cuda % 1000 // 10}",
        power_limit_w=watts("power_limit_w", "nvmlDeviceGetEnforcedPowerLimit"),
        persistence=flag("persistence", "nvmlDeviceGetPersistenceMode"),
        ecc=flag("ecc", "nvmlDeviceGetEccMode"),
        mig=flag("mig", "nvmlDeviceGetMigMode"),
        compute_capability=None if capability is None else ".".join(map(str, capability)),
        vbios=text("vbios", "nvmlDeviceGetVbiosVersion"),
        power_limit_default_w=watts("power_limit_default_w", "nvmlDeviceGetPowerManagementDefaultLimit"),
        sm_clock_max_hz=hertz("sm_clock_max_hz", "nvmlDeviceGetMaxClockInfo", sm),
        memory_clock_max_hz=hertz("memory_clock_max_hz", "nvmlDeviceGetMaxClockInfo", memory),
        application_sm_clock_hz=hertz("application_sm_clock_hz", "nvmlDeviceGetApplicationsClock", sm),
        application_memory_clock_hz=hertz(
            "application_memory_clock_hz", "nvmlDeviceGetApplicationsClock", memory
        ),
        default_sm_clock_hz=hertz("default_sm_clock_hz", "nvmlDeviceGetDefaultApplicationsClock", sm),
        default_memory_clock_hz=hertz(
            "default_memory_clock_hz", "nvmlDeviceGetDefaultApplicationsClock", memory
        ),
        compute_mode=None if mode is None else COMPUTE_MODES.get(mode, f"unknown ({mode})"),
        pcie_generation=number("pcie_generation", "nvmlDeviceGetCurrPcieLinkGeneration"),
        pcie_width=number("pcie_width", "nvmlDeviceGetCurrPcieLinkWidth"),
        pcie_generation_max=number("pcie_generation_max", "nvmlDeviceGetMaxPcieLinkGeneration"),
        pcie_width_max=number("pcie_width_max", "nvmlDeviceGetMaxPcieLinkWidth"),
    )


def mig_identity(
    nvml: Nvml, mig: Handle, gpu: GpuEnvironment, instance: int, fields: NvmlFields
) -> GpuEnvironment:
    """The identity of a MIG device: its own name, uuid and memory. The rest is the GPU's, without the power
    limits."""
    for field in ("power_limit_w", "power_limit_default_w"):
        fields.refuse(field, "belongs to the whole GPU")
    return gpu.model_copy(
        update={
            "mig_instance": instance,
            "name": fields.ask(lambda: nvml.text(mig, "nvmlDeviceGetName"), "name") or "unknown MIG device",
            "uuid": fields.ask(lambda: nvml.text(mig, "nvmlDeviceGetUUID"), "uuid")
            or f"unknown-{gpu.device}-{instance}",
            "memory_bytes": fields.ask(lambda: nvml.number(mig, "nvmlDeviceGetMemoryInfo"), "memory_bytes"),
            "power_limit_w": None,
            "power_limit_default_w": None,
        }
    )
