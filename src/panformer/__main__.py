"""`python -m panformer` is `panformer`."""

from .cli.main import main

main()
