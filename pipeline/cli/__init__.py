"""The commands of the command line: arguments, help and exit codes. Other packages do the work."""
