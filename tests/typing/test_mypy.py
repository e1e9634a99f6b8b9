"""What a user writes is checked by mypy --strict: the example passes, and mistakes are flagged where they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
WRONG, EXAMPLES, STARTER = HERE / "wrong.py", ROOT / "examples", ROOT / "src/headwater/cli/starter/app.py"


@pytest.fixture(scope="module")
def found():
    """What mypy says, by file: {(line, code)}. One run for all."""
    files = [WRONG, *sorted(EXAMPLES.glob("*.py")), STARTER]
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--no-error-summary",
        "--hide-error-context",
        "--follow-imports=silent",
    ]
    done = subprocess.run([*command, *map(str, files)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors = {file: set() for file in files}
    for path, line, code in re.findall(r"^(.+?):(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE):
        errors[(ROOT / path).resolve()].add((int(line), code))
    return errors


@pytest.mark.parametrize("file", [*sorted(EXAMPLES.glob("*.py")), STARTER], ids=lambda file: file.name)
def test_what_we_show_passes_the_strict_type_checker(found, file):
    assert found[file] == set()


def test_every_marked_mistake_is_flagged_and_nothing_else(found):
    lines = WRONG.read_text().splitlines()
    marked = {(n, match[1]) for n, line in enumerate(lines, 1) if (match := re.search(r"# wrong: ([a-z-]+)$", line))}
    assert len(marked) > 30
    assert found[WRONG] == marked
