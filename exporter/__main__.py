"""`python -m exporter` and the `mnv2-export` command."""

from exporter.cli import main

if __name__ == "__main__":
    main()
