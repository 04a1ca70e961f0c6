"""`python -m cprlab` is `cprlab`; torchrun starts it by this name."""

from cprlab.cli import main

if __name__ == "__main__":
    main()
