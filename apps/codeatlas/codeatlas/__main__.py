"""``python -m codeatlas`` is the command ``codeatlas``."""

from codeatlas.cli import main

if __name__ == "__main__":
    main()
