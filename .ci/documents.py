"""Check that the documents tell the truth: links lead somewhere, and commands and make targets that they name exist."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")
COMMAND = re.compile(r"(?:^\$ |^|`)headwater ([a-z]+)", re.MULTILINE)
TARGET = re.compile(r"(?:^\$ |^|`)make ([a-z]+)", re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)


def documents() -> list[Path]:
    """Every Markdown file that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"],  # noqa: S607
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def commands() -> set[str]:
    """Names of the commands that `headwater` has."""
    from headwater.cli.main import COMMANDS  # noqa: PLC0415 - this file also runs where only its links are wanted

    return {name.split()[0] for name in COMMANDS}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def faults(path: Path, known_commands: set[str], known_targets: set[str]) -> Iterator[str]:
    """What is untrue in one document, one line each."""
    text = path.read_text()
    where = path.relative_to(ROOT)
    for link in LINK.findall(CODE.sub("", text)):
        if "://" not in link and not link.startswith("mailto:") and not (path.parent / link).exists():
            yield f"{where}: the link {link} leads nowhere"
    code = "\n".join(CODE.findall(text))
    for name in sorted(set(COMMAND.findall(code)) - known_commands):
        yield f"{where}: there is no command `headwater {name}`"
    for name in sorted(set(TARGET.findall(code)) - known_targets):
        yield f"{where}: there is no target `make {name}`"


def main() -> int:
    paths = documents()
    found = [line for path in paths for line in faults(path, commands(), targets())]
    print("\n".join(found) if found else f"Documents: {len(paths)} checked.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
