"""One file for each experiment; its docstring gives the figures to expect and the command."""
