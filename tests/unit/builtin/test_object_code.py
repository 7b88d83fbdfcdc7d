"""Machine code in the cache folder: whole, ours and of this machine, or made anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domadapt.builtin.cleaning.minhash.compiled import KERNELS
from domadapt.builtin.object_code import KernelModule, NoKernels
from domadapt.pipeline.fingerprints import cache_folder


@pytest.fixture
def compiled() -> Path:
    """The file of kernels that are compiled."""
    KERNELS.load()
    (file,) = (cache_folder() / "kernels").glob("minhash-*.bin")
    return file


def test_kernels_are_compiled_once_and_then_loaded(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert KERNELS.is_compiled()
    monkeypatch.setattr(KernelModule, "compile", lambda *_: pytest.fail("compiled again"))
    assert set(KERNELS.load()) == {"sign", "find", "move"}


def test_damaged_machine_code_is_compiled_anew(compiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, calls = compiled.read_bytes(), []

    def compile_(self: KernelModule, llvm: Any) -> bytes:
        calls.append(self.name)
        return whole[51:]

    monkeypatch.setattr(KernelModule, "compile", compile_)
    (tmp_path / "kernels").mkdir()
    for content in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"", b"x" * 1000):
        (tmp_path / "kernels" / compiled.name).write_bytes(content)
        KERNELS.load(tmp_path)
    assert calls == ["minhash"] * 4
    assert (tmp_path / "kernels" / compiled.name).read_bytes() == whole
    KERNELS.load(tmp_path)
    assert len(calls) == 4


def test_other_texts_of_the_kernels_are_another_file(compiled: Path) -> None:
    other = KernelModule(KERNELS.name, KERNELS.module, uses=(*KERNELS.uses, "domadapt.errors"))
    assert not other.is_compiled()


def test_without_a_folder_to_keep_them_there_are_no_kernels_and_the_reason_names_it(
    compiled: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NoKernels, match=r"compiled kernels cannot be kept in .*file.*set ADAPT_HOME"):
        KERNELS.load(tmp_path / "file")
