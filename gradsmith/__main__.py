"""`python -m gradsmith`."""

from gradsmith.cli import main

if __name__ == "__main__":
    main()
