"""The command line of argprod: the only room that prints, plots and exits."""

__version__ = "0.1.0"
