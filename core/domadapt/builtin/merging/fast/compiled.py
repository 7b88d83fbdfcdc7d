"""Compile the kernels once a machine; load their machine code without the compiler.

numba takes about fifteen seconds to compile them and half a second to import and to load its own cache (its type
system and scipy with it), which is a third of a whole merge of half a billion weights. So the code that numba
makes is kept as an object file, and llvmlite, numba's own code generator, loads it in a twentieth of a second.
The file is bound to the text of the kernels, the versions of both and the processor; when it cannot be made or
loaded there is a reason and no kernels.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from domadapt.builtin.merging.fast.routes import LANES, RANGE, Deltas, Flat, Gathered, Windows, narrow, ranges
from domadapt.pipeline.fingerprints import cache_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

Kernel = Callable[..., None]
_TEXTS = [Path(__file__).with_name(name) for name in ("arithmetic.py", "kernels.py", "compiled.py")]
_MAGIC = b"domadapt kernels 1\n"
_engines: list[Any] = []
"""Kept because the code lives as long as its engine."""


class NoKernels(Exception):  # noqa: N818 - a reason, not a fault
    """Why there are no compiled kernels, one sentence."""


@functools.cache
def load(folder: Path | None = None) -> Mapping[str, Kernel]:
    """The kernels by name, functions of integers; compiled when the cache folder does not have them.

    Raises NoKernels when numba or llvmlite cannot be imported or the cache folder cannot be written.
    """
    try:
        import llvmlite.binding as llvm  # type: ignore[import-untyped]
    except ImportError as error:
        raise NoKernels(f"llvmlite cannot be imported ({error})") from error
    file = _file(folder or cache_folder(), llvm)
    stored = _read(file)
    if stored is None:
        _write(file, b"")  # before ten seconds of compiling, not after
        stored = _compile(llvm)
        _write(file, stored)
    return _link(stored, llvm)


def are_compiled() -> bool:
    """Whether the cache folder has the kernels, so that loading them takes no time."""
    try:
        import llvmlite.binding as llvm
    except ImportError:
        return False
    return _read(_file(cache_folder(), llvm)) is not None


def _file(folder: Path, llvm: Any) -> Path:
    target = f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
    made_by = f"{version('numba')} {version('llvmlite')} {version('numpy')}"
    key = hashlib.sha256(f"{target}\n{made_by}\n".encode() + b"".join(text.read_bytes() for text in _TEXTS))
    return folder / "kernels" / f"merge-{key.hexdigest()[:16]}.bin"


def _read(file: Path) -> bytes | None:
    """What was written whole, else None."""
    try:
        data = file.read_bytes()
    except OSError:
        return None
    start = len(_MAGIC) + 32
    whole = (
        len(data) > start
        and data[: len(_MAGIC)] == _MAGIC
        and hashlib.sha256(data[start:]).digest() == data[len(_MAGIC) : start]
    )
    return data[start:] if whole else None


def _write(file: Path, stored: bytes) -> None:
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(_MAGIC + hashlib.sha256(stored).digest() + stored)
        os.replace(part, file)
    except OSError as error:
        raise NoKernels(
            f"compiled kernels cannot be kept in {file.parent} ({error.strerror}); set ADAPT_HOME to a folder that "
            "can be written"
        ) from error


def _compile(llvm: Any) -> bytes:
    """A line of JSON (symbol and number of arguments of each kernel), then the object code of all."""
    try:
        import numba
        from numba.core.errors import NumbaError

        from domadapt.builtin.merging.fast import kernels
    except ImportError as error:
        raise NoKernels(f"numba cannot be imported ({error})") from error
    texts, symbols = [], {}
    try:
        for kernel in kernels.KERNELS:
            arguments = len(inspect.signature(kernel).parameters)
            signature = numba.types.void(*[numba.types.int64] * arguments)
            function = numba.cfunc(signature, nopython=True, error_model="numpy")(kernel)
            texts.append(_self_contained(function.inspect_llvm()))
            symbols[kernel.__name__] = [function.native_name, arguments]
        _initialize(llvm)
        module = llvm.parse_assembly(texts[0])
        for text in texts[1:]:
            module.link_in(llvm.parse_assembly(text))
        module.verify()
        code = _machine(llvm).emit_object(module)
    except (NumbaError, RuntimeError) as error:  # llvmlite's errors are RuntimeErrors
        raise NoKernels(f"the kernels cannot be compiled here ({str(error).splitlines()[0]})") from error
    return json.dumps(symbols).encode() + b"\n" + bytes(code)


def _self_contained(text: str) -> str:
    """LLVM's text without calls out: kernels do not raise, so what raising would call is a trap."""
    trapped = re.sub(
        r"^declare ([^@\n]*?)(@(?!llvm\.)[\w.\"$]+\([^)]*\))[^\n]*$",
        # of what stands before the name only the last word is the type of the result
        lambda found: f"define internal {found[1].split()[-1]} {found[2]} {{ call void @llvm.trap() unreachable }}",
        text,
        flags=re.MULTILINE,
    )
    return trapped if "declare void @llvm.trap()" in trapped else trapped + "\ndeclare void @llvm.trap()\n"


def _link(stored: bytes, llvm: Any) -> Mapping[str, Kernel]:
    line, _, code = stored.partition(b"\n")
    _initialize(llvm)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), _machine(llvm))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    found: dict[str, Kernel] = {}
    for name, (symbol, arguments) in json.loads(line).items():
        address = engine.get_function_address(symbol)
        if not address:
            raise NoKernels(f"the compiled kernels have no {name}")
        found[name] = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * arguments)(address)
    _engines.append(engine)
    return found


def _initialize(llvm: Any) -> None:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()


def _machine(llvm: Any) -> Any:
    target = llvm.Target.from_triple(llvm.get_process_triple())
    # the relocation and code models that suit code loaded anywhere in memory
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, reloc="default",
        codemodel="jitdefault", jit=True,
    )  # fmt: skip


BLOCK = 2048
NOWHERE = 0xFFFFFFFF


class Compiled:
    """The kernels as a `Route`: numpy arrays are given by their addresses. Raises NoKernels when there are none."""

    name: Literal["kernels", "operators", "gpu"] = "kernels"
    range_entries = RANGE

    def __init__(self) -> None:
        self._kernels = load()

    def count_high(self, base: Flat, models: Sequence[Flat], rounded: bool) -> NDArray[np.int64]:
        """See Route."""
        table = np.zeros((len(models), 4, 1 << 15), np.uint32)
        scratch = _scratch(3)
        for inputs, _ in _pieces([base, *models]):
            self._kernels["count_high"](
                _at(inputs.addresses), _at(inputs.codes), len(models), inputs.size, rounded, _at(table), _at(scratch)
            )
        return table.sum(axis=1, dtype=np.int64)  # type: ignore[no-any-return]

    def count_low(self, base: Flat, model: Flat, wanted: Sequence[int]) -> NDArray[np.int64]:
        """See Route."""
        table = np.zeros((len(wanted), 1 << 16), np.uint32)
        rows, scratch = np.array(wanted, np.uint32), _scratch(2)
        for inputs, _ in _pieces([base, model]):
            self._kernels["count_low"](
                _at(inputs.addresses), _at(inputs.codes), inputs.size, len(wanted), _at(rows), _at(table), _at(scratch)
            )
        return table.astype(np.int64)

    def gather(
        self, base: Flat, models: Sequence[Flat], rounded: bool, windows: Sequence[Windows], room: int
    ) -> list[Gathered] | None:
        """See Route."""
        number = len(models)
        num_windows, num_atoms = max(len(w.ranges) for w in windows), max(len(w.atoms) for w in windows)
        # what pads the shorter lists is beyond every finite magnitude
        bounds = np.full((number, num_windows, 2), NOWHERE, np.uint32)
        atoms = np.full((number, num_atoms), NOWHERE, np.uint32)
        for k, of_model in enumerate(windows):
            bounds[k, : len(of_model.ranges)] = of_model.ranges
            atoms[k, : len(of_model.atoms)] = of_model.atoms
        above, equal = np.zeros((number, num_windows), np.int64), np.zeros((number, num_atoms), np.int64)
        found, totals = np.empty((number, room), np.uint32), np.zeros(number, np.int64)
        scratch = _scratch(4)
        for inputs, _ in _pieces([base, *models]):
            self._kernels["gather"](
                _at(inputs.addresses), _at(inputs.codes), number, inputs.size, rounded,
                num_windows, _at(bounds), _at(above), num_atoms, _at(atoms), _at(equal),
                room, _at(found), _at(totals), _at(scratch),
            )  # fmt: skip
        if (totals > room).any():
            return None
        return [Gathered(found[k, : totals[k]], above[k].tolist(), equal[k].tolist()) for k in range(number)]

    def kept_sums(self, base: Flat, model: Flat, deltas: Deltas, index: int) -> NDArray[np.float64]:
        """See Route."""
        d, i = deltas, index
        lanes, budget, scratch = np.zeros((2, LANES)), d.budgets[i : i + 1].copy(), _scratch(4)
        for inputs, start in _pieces([base, model]):
            self._kernels["kept_sums"](
                _at(inputs.addresses), _at(inputs.codes), inputs.size, d.rounded, start,
                int(d.modes[i]), int(d.thresholds[i]), _at(budget), int(d.keys.view(np.int64)[i]), int(d.cuts[i]),
                _at(lanes), _at(scratch),
            )  # fmt: skip
        return lanes

    def products(self, base: Flat | None, models: Sequence[Flat], rounded: bool) -> NDArray[np.float64]:
        """See Route."""
        lanes, scratch = np.zeros((len(models), len(models), LANES)), _scratch(len(models) + 1)
        relative = base is not None
        for inputs, _ in _pieces([base, *models] if relative else models):
            self._kernels["products"](
                _at(inputs.addresses), _at(inputs.codes), len(models), inputs.size, rounded, relative,
                _at(lanes), _at(scratch),
            )  # fmt: skip
        return lanes

    def merge_deltas(self, base: Flat, models: Sequence[Flat], deltas: Deltas, offset: int, out: Flat) -> list[int]:
        """See Route."""
        d, inputs, output = deltas, _Inputs([base, *models]), _Output(out, len(models) + 2)
        plan, scratch = np.array([d.elect, d.normalize, d.divisor, d.scale], np.float32), _scratch(len(models) + 6)
        self._kernels["merge_deltas"](
            _at(inputs.addresses), _at(inputs.codes), len(models), inputs.size, d.rounded, offset,
            _at(d.modes), _at(d.thresholds), _at(d.budgets), _at(d.keys), _at(d.cuts), _at(d.factors), _at(d.weights),
            _at(plan), output.address, output.code, _at(output.largest), _at(scratch),
        )  # fmt: skip
        return output.finish()

    def combine(
        self, models: Sequence[Flat], weights: Sequence[float], divisor: float, fused: bool, rounded: bool, out: Flat
    ) -> list[int]:
        """See Route."""
        inputs, output, scratch = _Inputs(models), _Output(out, len(models) + 1), _scratch(2)
        numbers = np.array([*weights, divisor], np.float32)
        self._kernels["combine"](
            _at(inputs.addresses), _at(inputs.codes), len(models), inputs.size, rounded, fused, _at(numbers),
            output.address, output.code, _at(output.largest), _at(scratch),
        )  # fmt: skip
        return output.finish()

    def stock(self, base: Flat, models: Sequence[Flat], share: float, out: Flat) -> list[int]:
        """See Route."""
        inputs, output, scratch = _Inputs([base, *models]), _Output(out, len(models) + 2), _scratch(3)
        number = np.array([share], np.float32)
        self._kernels["stock"](
            _at(inputs.addresses), _at(inputs.codes), len(models), inputs.size, _at(number),
            output.address, output.code, _at(output.largest), _at(scratch),
        )  # fmt: skip
        return output.finish()


def _at(array: NDArray[Any]) -> int:
    """The address of an array that the caller keeps."""
    return int(array.__array_interface__["data"][0])


def _scratch(blocks: int) -> NDArray[np.float32]:
    return np.empty(blocks * BLOCK, np.float32)


class _Inputs:
    """Addresses and type codes of ranges; fp16 and what is not aligned to its type is copied."""

    def __init__(self, arrays: Sequence[Flat]) -> None:
        self.arrays = [_readable(array) for array in arrays]  # kept: the addresses point into them
        self.size = int(self.arrays[0].size)
        assert all(array.size == self.size for array in self.arrays)
        self.addresses = np.array([_at(array) for array in self.arrays], np.int64)
        self.codes = np.array([array.dtype == np.float32 for array in self.arrays], np.int64)


def _readable(array: Flat) -> Flat:
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array if array.flags.aligned and array.flags.c_contiguous else array.copy()


def _pieces(arrays: Sequence[Flat]) -> Iterator[tuple[_Inputs, int]]:
    """Whole tensors where they can be read in place, else ranges, with their first entry."""
    in_place = all(array.dtype != np.float16 and array.flags.aligned for array in arrays)
    size = arrays[0].size
    for start, end in ranges(size, max(size, 1) if in_place else RANGE):
        yield _Inputs([array[start:end] for array in arrays]), start


class _Output:
    """Where a kernel writes, and the largest magnitudes that it reports; fp16 goes through fp32."""

    def __init__(self, out: Flat, reported: int) -> None:
        self._out = out
        self._written = np.empty(out.size, np.float32) if out.dtype == np.float16 else out
        self.address, self.code = _at(self._written), int(self._written.dtype == np.float32)
        self.largest = np.zeros(reported, np.uint32)

    def finish(self) -> list[int]:
        found: list[int] = self.largest.tolist()
        if self._written is not self._out:
            found[-1] = max(found[-1], narrow(self._written, self._out))
        return found
