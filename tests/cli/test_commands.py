"""What holds for every command."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from typer.main import get_command

from headwater.cli import main, output
from headwater.core.errors import Fatal


@pytest.fixture
def hw(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main.run(arguments)
        captured = capsys.readouterr()
        return left.value.code, captured.out, captured.err

    return call


def words(text):
    return re.sub(r"[\s│]+", " ", text)


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_command_says_what_it_does_and_shows_an_example(hw, command):
    code, out, _ = hw(*command.split(), "--help")
    assert code == 0
    assert len(words(out.split("For example:")[0]).split()) > 8
    assert f"headwater {command}" in words(out.split("For example:")[1])


@pytest.mark.parametrize("command", main.COMMANDS)
def test_every_argument_and_option_is_documented(command):
    found = get_command(main.build())
    for word in command.split():
        found = found.commands[word]
    for parameter in found.params:
        assert len(parameter.help.split()) > 3, parameter.name


def test_help_lists_every_command(hw):
    code, out, _ = hw("--help")
    assert code == 0
    for command in main.COMMANDS:
        assert re.search(rf"^│ {command.split()[0]} +\w", out, re.MULTILINE), command


def test_help_is_quick_because_it_imports_no_library():
    program = "import sys\nfrom headwater.cli.main import build\nbuild()\nprint(*sys.modules)"
    loaded = set(subprocess.check_output([sys.executable, "-c", program], text=True).split())
    assert not loaded & {"numpy", "numba", "pyarrow", "lmdb", "pydantic", "rich.table", "sqlite3", "uvicorn"}


def test_wrong_usage_is_exit_code_2(hw):
    for wrong in (["nonsense"], ["versions", "--nope"], ["diff", "one"]):
        code, out, err = hw(*wrong)
        assert (code, out) == (2, "")
        assert "Usage: headwater" in err


def test_an_error_is_one_block_on_stderr_without_a_traceback(hw, tmp_path):
    code, out, err = hw("versions", "--state", str(tmp_path))
    assert (code, out) == (1, "")
    assert "no version has been registered here" in err
    assert f"where: {tmp_path}/registry" in words(err)
    assert "Traceback" not in err


def test_the_debug_switch_shows_the_traceback(tmp_path, monkeypatch):
    monkeypatch.setenv("HEADWATER_DEBUG", "1")
    with pytest.raises(Fatal):
        main.run(["versions", "--state", str(tmp_path)])


def test_a_fault_of_ours_says_so(capsys):
    output.show_error(ZeroDivisionError("division by zero"))
    err = capsys.readouterr().err
    assert "fault in Headwater: ZeroDivisionError: division by zero" in err
    assert "HEADWATER_DEBUG=1" in err


def test_data_cannot_drive_the_terminal(capsys):
    output.table(("a",), [["\x1b[2J[red]x[/red]:smile:"]])
    assert "\\x1b[2J[red]x[/red]:smile:" in capsys.readouterr().out


def test_the_version_is_printed(hw):
    code, out, _ = hw("--version")
    assert code == 0
    assert re.fullmatch(r"headwater \d+\.\d+\.\d+\n", out)
