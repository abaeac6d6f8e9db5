"""`python -m shoestring`: the same as `shoestring`."""

from shoestring.cli import main

main()
