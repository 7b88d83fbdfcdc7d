"""The store: what is published is whole and stays whole, whatever dies in between."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from domadapt.artifacts import MANIFEST
from domadapt.errors import DataError, MissingError
from domadapt.pipeline.store import Store, is_intact, manifest_of, publish, remove, run_lock, verify, write_file

FACTS = {"kind": "corpus", "key": "k", "facts": {"documents": 3, "name": "Köln"}}


def work_on(folder: Path, content: bytes = b"content") -> Path:
    (folder / "train").mkdir(parents=True)
    (folder / "train" / "a.bin").write_bytes(content)
    (folder / "b.json").write_text("{}")
    return folder


def published(folder: Path, content: bytes = b"content") -> Path:
    publish(work_on(folder.with_name(f"{folder.name}.partial"), content), folder, FACTS)
    return folder


def test_a_published_folder_has_its_files_its_facts_and_verifies(tmp_path: Path) -> None:
    final = published(tmp_path / "k")
    verify(final)
    manifest = json.loads((final / MANIFEST).read_bytes())
    assert manifest["facts"] == FACTS["facts"]
    assert manifest["files"]["train/a.bin"]["bytes"] == 7
    assert set(manifest["files"]) == {"train/a.bin", "b.json"}
    assert not (tmp_path / "k.partial").exists()


def test_the_manifest_is_written_after_every_file_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename, replace = os.fsync, os.rename, os.replace

    def name(descriptor: int) -> str:
        return os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}"))

    monkeypatch.setattr(os, "fsync", lambda fd: (done.append(f"fsync {name(fd)}"), fsync(fd))[1])
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append(f"replace {Path(b).name}"), replace(a, b))[1])
    monkeypatch.setattr(os, "rename", lambda a, b: (done.append(f"rename {Path(b).name}"), rename(a, b))[1])
    published(tmp_path / "k")
    manifest = done.index(f"replace {MANIFEST}")
    assert {"fsync a.bin", "fsync b.json", "fsync train"} <= set(done[:manifest])
    assert done[manifest:] == [f"replace {MANIFEST}", "fsync k.partial", "rename k", f"fsync {tmp_path.name}"]


def test_a_folder_without_a_manifest_does_not_exist_for_the_store(tmp_path: Path) -> None:
    store = Store(tmp_path)
    work_on(store.path("corpus", "k"))
    assert store.find("corpus", "k") is None
    with pytest.raises(DataError, match="not a finished artifact"):
        verify(store.path("corpus", "k"))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": 1}', '{"schema": 2, "files": {}}', '{"schema": 1, "files": []}', "\xff"]
)
def test_a_folder_with_a_damaged_manifest_does_not_exist_for_the_store(tmp_path: Path, text: str) -> None:
    final = published(tmp_path / "corpus" / "k")
    (final / MANIFEST).write_bytes(text.encode("latin-1"))
    assert Store(tmp_path).find("corpus", "k") is None


def test_a_file_of_another_size_or_a_missing_one_is_seen_without_reading_contents(tmp_path: Path) -> None:
    final = published(tmp_path / "corpus" / "k")
    store = Store(tmp_path)
    assert store.find("corpus", "k") == final
    (final / "train" / "a.bin").write_bytes(b"conten")
    assert store.find("corpus", "k") is None
    (final / "train" / "a.bin").unlink()
    assert store.find("corpus", "k") is None


def test_verify_finds_each_of_fifty_flipped_bits_and_names_the_file(tmp_path: Path) -> None:
    final = published(tmp_path / "k", random.Random(0).randbytes(4096))
    file, draw = final / "train" / "a.bin", random.Random(1)
    whole = file.read_bytes()
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        with pytest.raises(DataError, match=r"a\.bin: damaged"):
            verify(final)
    file.write_bytes(whole)
    verify(final)


def test_every_flipped_bit_of_the_manifest_itself_is_found(tmp_path: Path) -> None:
    final = published(tmp_path / "k")
    file = final / MANIFEST
    whole = file.read_bytes()
    intact = manifest_of(final)
    for at in range(len(whole)):
        damaged = bytearray(whole)
        damaged[at] ^= 1 << (at % 8)
        file.write_bytes(damaged)
        # white space may change without harm, a value may not
        assert manifest_of(final) in (None, intact), at


def test_a_stray_file_is_not_read(tmp_path: Path) -> None:
    from domadapt.artifacts import Corpus

    final = published(tmp_path / "k")
    (final / "train" / "stray.bin").write_bytes(b"from an older run")
    assert [f.name for f in Corpus(final).files("train/", ".bin")] == ["a.bin"]


def test_a_damaged_entry_is_replaced_when_the_key_is_published_again(tmp_path: Path) -> None:
    final = published(tmp_path / "k")
    (final / "train" / "a.bin").write_bytes(b"cut")
    published(tmp_path / "k")
    verify(final)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k"]


def test_of_two_publishers_of_one_key_the_first_stays_and_the_second_leaves_nothing(tmp_path: Path) -> None:
    final = published(tmp_path / "k", b"first")
    before = (final / MANIFEST).stat().st_ino
    publish(work_on(tmp_path / "other.partial", b"again"), final, FACTS)
    assert (final / "train" / "a.bin").read_bytes() == b"first"
    assert (final / MANIFEST).stat().st_ino == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["k"]


def test_a_reader_sees_whole_artifacts_only_while_others_publish_and_remove(tmp_path: Path) -> None:
    final, seen, end = tmp_path / "k", [], threading.Event()

    def look() -> None:
        while not end.is_set():
            if is_intact(final):
                try:
                    seen.append((final / "train" / "a.bin").read_bytes())
                except FileNotFoundError:  # removed between the two calls
                    seen.append(b"gone")

    reader = threading.Thread(target=look)
    reader.start()
    try:
        rounds = 0
        while rounds < 30 or (b"content" not in seen and rounds < 3000):  # until the reader had its turn
            published(final)
            remove(final)
            rounds += 1
    finally:
        end.set()
        reader.join()
    assert set(seen) <= {b"content", b"gone"}
    assert seen


def test_removing_leaves_nothing_and_what_is_not_there_is_no_error(tmp_path: Path) -> None:
    remove(published(tmp_path / "k"))
    remove(tmp_path / "k")
    assert list(tmp_path.iterdir()) == []


def test_a_single_file_is_replaced_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "state.json", b"old")

    def fail(a: Path, b: Path) -> None:
        raise OSError("killed before the rename")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="killed"):
        write_file(tmp_path / "state.json", b"new")
    assert (tmp_path / "state.json").read_bytes() == b"old"


def test_entries_are_listed_with_partial_and_scratch_folders(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    assert list(store.entries()) == []
    published(store.path("corpus", "k"))
    store.work_path("corpus", "l").mkdir()
    store.scratch_path("train", "m").mkdir(parents=True)
    with store.lock("corpus", "k"):
        pass
    assert [(kind, name) for kind, name, _ in store.entries()] == [
        ("corpus", "k"),
        ("corpus", "l.partial"),
        ("train", "m.scratch"),
    ]


KILL_AT_EVERY_STEP = """
    import os, shutil, sys
    from pathlib import Path
    from domadapt.pipeline.store import publish

    root, damaged = Path(sys.argv[1]), sys.argv[2] == "over damaged"
    CALLS = ("fsync", "replace", "rename", "unlink", "rmdir", "open")

    def work_on(folder):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "train").mkdir(parents=True)
        (folder / "train" / "a.bin").write_bytes(b"content")
        (folder / "b.json").write_text("{}")

    def die_at(n):
        left = [n]
        def counted(call):
            def wrapper(*args, **named):
                left[0] -= 1
                if not left[0]:
                    os._exit(9)
                return call(*args, **named)
            return wrapper
        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))

    for n in range(1, 200):
        folder = root / str(n)
        work_on(folder / "k.partial")
        if damaged:
            work_on(folder / "first.partial")
            publish(folder / "first.partial", folder / "k", {"facts": {}})
            (folder / "k" / "b.json").write_text("")
        child = os.fork()
        if not child:
            die_at(n)
            publish(folder / "k.partial", folder / "k", {"facts": {}})
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
    print(n)
"""


@pytest.mark.parametrize("over", ["nothing", "over damaged"])
def test_a_kill_at_any_step_of_publishing_leaves_the_key_absent_or_intact(tmp_path: Path, over: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILL_AT_EVERY_STEP), str(tmp_path), over],
        capture_output=True,
        text=True,
        check=True,
    )
    last = int(done.stdout)
    assert last > 10  # so many system calls were interrupted, one after another
    absent = 0
    for n in range(1, last + 1):
        final = tmp_path / str(n) / "k"
        if is_intact(final):
            verify(final)
        else:
            absent += 1
        # the next attempt empties the work folder and publishes
        remove(final.with_name("k.partial"))
        published(final)
        verify(final)
    assert 0 < absent < last


HOLD = """
    import sys, time
    from pathlib import Path
    from domadapt.pipeline.store import run_lock

    with run_lock(Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_run_that_is_worked_on_is_refused_naming_the_holder_and_free_after_kill_9(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "sec"
    holder = subprocess.Popen([sys.executable, "-c", textwrap.dedent(HOLD), str(folder)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(MissingError, match=rf"process {holder.pid} on .* since \d{{4}}-"), run_lock(folder):
            pass
        os.kill(holder.pid, signal.SIGKILL)
    finally:
        holder.kill()
        holder.communicate()
    with run_lock(folder):
        assert json.loads((folder / "owner.json").read_bytes())["pid"] == os.getpid()
    assert not (folder / "owner.json").exists()


def test_a_lock_whose_owner_file_is_damaged_is_still_a_lock(tmp_path: Path) -> None:
    with run_lock(tmp_path):
        (tmp_path / "owner.json").write_text("{")
        with pytest.raises(MissingError, match="another process is working on this run"), run_lock(tmp_path):
            pass


def test_on_a_file_system_without_flock_a_second_holder_is_refused_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno
    import fcntl
    import warnings

    def unsupported(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # filelock says that it uses a lock file instead
        with run_lock(tmp_path), pytest.raises(MissingError, match=f"process {os.getpid()}"), run_lock(tmp_path):
            pass
        with run_lock(tmp_path):
            pass


def test_a_runs_folder_that_cannot_be_made_is_in_the_way_and_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(MissingError, match=r"sec: .*Not a directory.*set ADAPT_RUNS"), run_lock(tmp_path / "runs/sec"):
        pass
