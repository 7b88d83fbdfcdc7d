"""`python -m domadapt` is the command `adapt`."""

from domadapt.cli import main

main()
