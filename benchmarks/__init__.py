"""One file for each claim of speed. Each prints its tables when it is run as a module."""
