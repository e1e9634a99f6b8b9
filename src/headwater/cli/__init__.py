"""What a person types: one file per command, over the other rooms.

In: arguments. Out: text or, with --json, JSON on stdout; errors on stderr with exit code 1 (2 for wrong usage). Nothing is
computed here. Libraries are imported inside the commands, so that `headwater --help` answers at once.
"""
