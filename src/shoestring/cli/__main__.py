"""`python -m shoestring.cli`: the same as `shoestring`."""

from shoestring.cli import main

main()
