"""`python -m relay` is `relay`."""

from relay.cli import entry

if __name__ == "__main__":
    entry()
