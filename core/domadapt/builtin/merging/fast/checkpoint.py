"""A checkpoint's tensors as memory maps: read in place, never copied as a whole.

The header of a safetensors file is a length and a JSON object, so it is read by hand: the library's numpy side has
no bf16 and its torch side costs a second of import. Entries of a tensor are a flat numpy array of the stored type;
bf16, which numpy lacks, is uint16.
"""

from __future__ import annotations

import json
import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from domadapt.errors import DataError

ONE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
STORED: dict[str, np.dtype[Any]] = {
    "BF16": np.dtype(np.uint16),
    "F16": np.dtype(np.float16),
    "F32": np.dtype(np.float32),
}
"""Types that are merged, by their names in a header."""
NAMES = {"BF16": "bfloat16", "F16": "float16", "F32": "float32"}
CODES = {name: code for code, name in NAMES.items()}
WIDTHS = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I16": 2,
    "U16": 2,
    "I32": 4,
    "U32": 4,
    "I64": 8,
    "U64": 8,
}
"""Bytes an entry of the types that are copied or refused, never merged."""
FLOATS = {"F64", "F8_E4M3", "F8_E5M2"}
LARGEST_HEADER = 100_000_000
OUTPUT, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"


@dataclass(frozen=True)
class Stored:
    """Where a tensor lies: file name, type as in the header, shape, first byte in the file and number of bytes."""

    file: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    num_bytes: int

    @property
    def size(self) -> int:
        """Number of entries."""
        return math.prod(self.shape)


class Weights:
    """The tensors of one Hugging Face folder.

    name: what messages call it (a role).  Raises DataError when a file is missing or damaged, or is a pickle.
    """

    def __init__(self, folder: Path, name: str = "") -> None:
        self.folder, self.name = folder, name or folder.name
        self.tensors: dict[str, Stored] = {}
        self.files = self._files()
        for file in self.files:
            self.tensors |= _header(folder / file)
        self._maps: dict[str, mmap.mmap] = {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """config.json. Raises DataError when there is none."""
        try:
            config = json.loads((self.folder / "config.json").read_bytes())
        except (OSError, ValueError) as error:
            raise DataError(f"{self.folder}: config.json cannot be read ({error})") from error
        if not isinstance(config, dict):
            raise DataError(f"{self.folder}: config.json is not an object")
        return config

    @property
    def num_layers(self) -> int:
        """Layers of the model by its config."""
        config = self.config.get("text_config") or self.config
        for key in ("num_hidden_layers", "n_layer", "n_layers", "num_layers"):
            if isinstance(config.get(key), int):
                return int(config[key])
        raise DataError(f"{self.folder}: config.json does not say how many layers the model has")

    @property
    def tied(self) -> bool:
        """Whether the output layer is the embedding and not stored."""
        return OUTPUT not in self.tensors and EMBEDDING in self.tensors and bool(self.config.get("tie_word_embeddings"))

    @property
    def num_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.num_bytes for tensor in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The type that holds most entries: "bfloat16", "float16" or "float32"."""
        sizes: dict[str, int] = {}
        for tensor in self.tensors.values():
            if tensor.dtype in NAMES:
                sizes[tensor.dtype] = sizes.get(tensor.dtype, 0) + tensor.size
        if not sizes:
            raise DataError(f"{self.folder}: it has no bf16, fp16 or fp32 weights")
        return NAMES[max(sorted(sizes), key=sizes.__getitem__)]

    def find(self, name: str) -> Stored | None:
        """A tensor by name; a tied model's output layer is its embedding."""
        if name == OUTPUT and self.tied:
            return self.tensors[EMBEDDING]
        return self.tensors.get(name)

    def flat(self, name: str) -> Any:
        """The entries of a tensor in the stored type, one dimension, read from the file as they are used."""
        tensor = self.find(name)
        assert tensor is not None, f"{self.name} has no {name}"
        dtype = STORED.get(tensor.dtype, np.dtype(np.uint8))
        count = tensor.num_bytes // dtype.itemsize
        if not count:
            return np.empty(0, dtype)
        memory = self._map(tensor.file)
        if hasattr(mmap, "MADV_WILLNEED"):
            page = tensor.start - tensor.start % mmap.PAGESIZE
            memory.madvise(mmap.MADV_WILLNEED, page, tensor.start + tensor.num_bytes - page)
        return np.frombuffer(memory, dtype, count, tensor.start)

    def _map(self, file: str) -> mmap.mmap:
        if file not in self._maps:
            with (self.folder / file).open("rb") as opened:
                self._maps[file] = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[file]

    def _files(self) -> list[str]:
        index = self.folder / INDEX
        if index.is_file():
            try:
                return sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise DataError(f"{index}: cannot be read ({error}); fetch or make the checkpoint again") from error
        if (self.folder / ONE_FILE).is_file():
            return [ONE_FILE]
        pickles = sorted(f.name for f in self.folder.glob("*") if f.suffix in {".bin", ".pt", ".pth", ".ckpt"})
        if pickles:
            raise DataError(
                f"{self.folder}: its weights are a pickle ({pickles[0]}), which can run code when it is read; "
                "save the model as safetensors"
            )
        raise DataError(f"{self.folder}: there is no {ONE_FILE} and no {INDEX} here; give a checkpoint's folder")


def _header(file: Path) -> dict[str, Stored]:
    """The tensors of a file. Raises DataError when it is not a whole safetensors file."""
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if size < 8 or length > min(size - 8, LARGEST_HEADER):
                raise ValueError("its header is cut off")
            entries = json.loads(opened.read(length))
        entries.pop("__metadata__", None)
        tensors = {name: _entry(file.name, 8 + length, entry) for name, entry in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: its weights cannot be read ({error}); fetch or make them again") from error
    ends = 8 + length + sum(tensor.num_bytes for tensor in tensors.values())
    if ends != size:
        raise DataError(f"{file}: it has {size} bytes where its header promises {ends}; fetch or make it again")
    return tensors


def _entry(file: str, data: int, entry: Mapping[str, Any]) -> Stored:
    start, end = entry["data_offsets"]
    shape = tuple(int(length) for length in entry["shape"])
    tensor = Stored(file, entry["dtype"], shape, data + start, end - start)
    width = STORED[tensor.dtype].itemsize if tensor.dtype in STORED else WIDTHS.get(tensor.dtype, 8)
    if start < 0 or tensor.num_bytes != tensor.size * width:
        raise ValueError(f"a tensor of shape {list(shape)} and type {tensor.dtype} has {tensor.num_bytes} bytes")
    return tensor
