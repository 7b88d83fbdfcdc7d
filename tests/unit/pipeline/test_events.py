"""events.jsonl: lines never mix, and damage costs the damaged line alone."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from domadapt.pipeline.events import EventLog, read_events


def test_events_come_back_in_order_with_their_data(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "run" / "events.jsonl")
    log.write("train", "start", {"key": "k"})
    log.write("train", "heldout", {"loss": 1.5, "path": tmp_path, "text": "zwei\nZeilen"})
    events, damaged = read_events(tmp_path / "run" / "events.jsonl")
    assert damaged == 0
    assert [(e["stage"], e["kind"]) for e in events] == [("train", "start"), ("train", "heldout")]
    assert events[1]["loss"] == 1.5
    assert events[1]["text"] == "zwei\nZeilen"
    assert events[0]["t"] <= events[1]["t"]


def test_no_file_means_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "events.jsonl") == ([], 0)


def test_a_log_cut_at_any_byte_of_its_last_line_keeps_all_lines_before(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    log = EventLog(file)
    for number in range(3):
        log.write("train", "step", {"number": number})
    whole = file.read_bytes()
    start = whole.rstrip(b"\n").rindex(b"\n") + 1
    for end in range(start, len(whole)):
        file.write_bytes(whole[:end])
        events, damaged = read_events(file)
        complete = end == len(whole) - 1  # only the line end is missing
        assert [e["number"] for e in events] == ([0, 1, 2] if complete else [0, 1])
        assert damaged == (0 if complete or end == start else 1)


def test_the_event_after_a_torn_line_is_not_lost_with_it(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    EventLog(file).write("train", "start", {})
    file.write_bytes(file.read_bytes() + b'{"t": 1, "stage": "tr')
    EventLog(file).write("train", "resumed", {})
    events, damaged = read_events(file)
    assert [e["kind"] for e in events] == ["start", "resumed"]
    assert damaged == 1


@pytest.mark.parametrize("middle", [b'{"kind": "st\xff"}', b"[1]", b'{"stage": "train"}', b"\x00\x00"])
def test_a_damaged_line_in_the_middle_is_passed_over_and_counted(tmp_path: Path, middle: bytes) -> None:
    file = tmp_path / "events.jsonl"
    EventLog(file).write("train", "start", {})
    line = file.read_bytes()
    file.write_bytes(line + middle + b"\n" + line)
    events, damaged = read_events(file)
    assert [e["kind"] for e in events] == ["start", "start"]
    assert damaged == 1


def test_four_processes_append_two_thousand_whole_lines(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    script = """
        import sys
        from pathlib import Path
        from domadapt.pipeline.events import EventLog

        log = EventLog(Path(sys.argv[1]))
        for number in range(500):
            log.write(sys.argv[2], "step", {"number": number, "padding": "x" * (number % 7) * 1000})
    """
    writers = [subprocess.Popen([sys.executable, "-c", textwrap.dedent(script), str(file), str(i)]) for i in range(4)]
    assert [writer.wait() for writer in writers] == [0] * 4
    events, damaged = read_events(file)
    assert damaged == 0
    for writer in range(4):
        assert [e["number"] for e in events if e["stage"] == str(writer)] == list(range(500))
    # a log that opens while another writes may add an empty line, which readers pass over
    lines = [line for line in file.read_bytes().splitlines() if line]
    assert len(lines) == 2000
    assert all(json.loads(line) for line in lines)
