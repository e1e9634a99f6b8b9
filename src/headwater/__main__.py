"""`python -m headwater`: the same as the command `headwater`."""

from headwater.cli.main import run

run()
