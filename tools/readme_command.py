"""Print the N-th shell block of README.md: what the gate and the tests run is what the reader is told."""

import re
import sys
from pathlib import Path


def shell_blocks(text: str) -> list[str]:
    """The contents of all ```sh blocks, in order."""
    return [block.strip() for block in re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)]


if __name__ == "__main__":
    print(shell_blocks((Path(__file__).parent.parent / "README.md").read_text())[int(sys.argv[1]) - 1])
