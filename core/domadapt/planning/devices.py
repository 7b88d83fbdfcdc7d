"""What accelerators can do: peak of matrix products in bf16, memory, links. Figures of data sheets, dense, SXM boards.

A plan needs a few common ones, not a catalogue: other boards differ from these by a factor that a user knows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from domadapt.errors import UsageError

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """One accelerator.

    peak_flops: bf16 products a second, without sparsity.  memory: bytes that torch reports on it.
    link: bytes a second to a neighbour in the same node, one direction.  network: bytes a second to another node,
    for each device.  source: where the figures stand.
    """

    name: str
    peak_flops: float
    memory: float
    link: float
    network: float
    source: str


DEVICES = {
    d.name: d
    for d in (
        Device("H100", 989.4e12, 79.1 * GIB, 450e9, 50e9, "NVIDIA H100 data sheet (SXM5, NVLink 4), 400 Gbit/s each"),
        Device("H200", 989.4e12, 139.8 * GIB, 450e9, 50e9, "NVIDIA H200 data sheet (SXM5, NVLink 4), 400 Gbit/s each"),
        Device(
            "A100", 312e12, 79.1 * GIB, 300e9, 25e9, "NVIDIA A100 80GB data sheet (SXM4, NVLink 3), 200 Gbit/s each"
        ),
        Device(
            "A100-40GB", 312e12, 39.4 * GIB, 300e9, 25e9, "NVIDIA A100 data sheet (SXM4, NVLink 3), 200 Gbit/s each"
        ),
        Device("B200", 2250e12, 178.3 * GIB, 900e9, 50e9, "NVIDIA DGX B200 data sheet (NVLink 5), 400 Gbit/s each"),
        Device("L40S", 362e12, 44.4 * GIB, 32e9, 12.5e9, "NVIDIA L40S data sheet (PCIe 4), 100 Gbit/s each"),
    )
}
"""By the name that `--gpus` takes."""


def parse_gpus(text: str) -> tuple[int, Device]:
    """Read "128xH100" or "H100": how many, and which.

    Raises UsageError for anything else.
    """
    match = re.fullmatch(r"(?:([1-9][0-9]{0,6})\s*[xX*]\s*)?([A-Za-z][\w.-]*)", text.strip())
    known = {name.lower(): device for name, device in DEVICES.items()}
    if match is None or match[2].lower() not in known:
        raise UsageError(f"--gpus {text}: wanted a number and a name such as 128xH100; names: {', '.join(DEVICES)}")
    return int(match[1] or 1), known[match[2].lower()]


def device_of(reported: str) -> Device | None:
    """The device that a driver reports, e.g. "NVIDIA H100 80GB HBM3"; None when its peak is not known here.

    Boards with another peak than the SXM ones (PCIe, NVL) are not known.
    """
    words = set(re.split(r"[^A-Za-z0-9]+", reported.upper()))
    if words & {"PCIE", "NVL"} and "L40S" not in words:
        return None
    if {"A100", "40GB"} <= words:
        return DEVICES["A100-40GB"]
    return next((device for name, device in DEVICES.items() if name in words), None)
