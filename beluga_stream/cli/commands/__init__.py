"""What each command is called and takes. Light: all of it loads for `--help`. The work is one level up."""
