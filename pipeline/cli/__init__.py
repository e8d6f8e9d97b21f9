"""The commands of the command line: their arguments, help and exit codes. The other packages do the work."""
