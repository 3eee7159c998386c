"""The command line: ``vmfa``, or ``python -m vmfa``.

``parser`` defines the arguments and the table of commands, ``main`` runs one command, and each
command group has a module: a command takes a ``CommandContext`` and returns a ``CommandResult``.
"""
