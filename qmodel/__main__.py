"""`python -m qmodel`: the command line without the script."""

from qmodel.cli import main

main()
