"""`python -m laconic` is the shell."""

from laconic.cli import main

if __name__ == "__main__":
    main()
