"""The command line: ``vmfa``, or ``python -m vmfa``.

``parser`` defines the arguments and the table of commands. ``main`` runs one command. Each group
of commands has a module: a command takes a ``CommandContext`` and returns a ``CommandResult``.
"""
