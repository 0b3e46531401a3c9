"""`python -m atdsr` is `atdsr`."""

from atdsr.cli import main

main()
