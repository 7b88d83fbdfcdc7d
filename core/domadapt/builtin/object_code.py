"""Compile numba kernels once a machine; load their machine code without the compiler.

numba takes seconds to compile and half a second to import and to load its own cache (its type system and scipy with
it). So the code that numba makes is kept as an object file in the cache folder, and llvmlite, numba's own code
generator, loads it in a twentieth of a second. The file is bound to the text of the kernels, the versions of both and
the processor; when it cannot be made or loaded there is a reason and no kernels.

A kernel is a function of integers (sizes and addresses) that returns nothing, calls nothing and does not raise. It runs
with the interpreter's lock released.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import inspect
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from domadapt.pipeline.fingerprints import cache_folder

Kernel = Callable[..., None]
_MAGIC = b"domadapt kernels 1\n"
_engines: list[Any] = []
"""Kept because the code lives as long as its engine."""


class NoKernels(Exception):  # noqa: N818 - a reason, not a fault
    """Why there are no compiled kernels, one sentence."""


@dataclass(frozen=True)
class KernelModule:
    """Kernels that are compiled together.

    name: of the file in the cache folder.  module: what holds them as `KERNELS`; it imports numba and is imported only
    to compile.  uses: other modules whose text decides what is compiled.
    """

    name: str
    module: str
    uses: Sequence[str] = ()

    def load(self, folder: Path | None = None) -> Mapping[str, Kernel]:
        """The kernels by name; compiled when the cache folder does not have them.

        Raises NoKernels when numba or llvmlite cannot be imported or the cache folder cannot be written.
        """
        try:
            import llvmlite.binding as llvm  # type: ignore[import-untyped]
        except ImportError as error:
            raise NoKernels(f"llvmlite cannot be imported ({error})") from error
        file = self._file(folder or cache_folder(), llvm)
        stored = _read(file)
        if stored is None:
            _write(file, b"")  # before seconds of compiling, not after
            stored = self.compile(llvm)
            _write(file, stored)
        return _link(stored, llvm)

    def is_compiled(self) -> bool:
        """Whether the cache folder has the kernels, so that loading them takes no time."""
        try:
            import llvmlite.binding as llvm
        except ImportError:
            return False
        return _read(self._file(cache_folder(), llvm)) is not None

    def _file(self, folder: Path, llvm: Any) -> Path:
        target = f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"
        made_by = f"{version('numba')} {version('llvmlite')} {version('numpy')}"
        texts = [_text(module) for module in (self.module, *self.uses, __name__)]
        key = hashlib.sha256(f"{target}\n{made_by}\n".encode() + b"".join(texts))
        return folder / "kernels" / f"{self.name}-{key.hexdigest()[:16]}.bin"

    def compile(self, llvm: Any) -> bytes:
        """A line of JSON (symbol and number of arguments of each kernel), then the object code of all."""
        try:
            import numba
            from numba.core.errors import NumbaError

            kernels = importlib.import_module(self.module).KERNELS
        except ImportError as error:
            raise NoKernels(f"numba cannot be imported ({error})") from error
        texts, symbols = [], {}
        try:
            for kernel in kernels:
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


def _text(module: str) -> bytes:
    """The source of a module that need not be imported for it."""
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_bytes()


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
