"""Make the reference model that comes with the package: run the stages apart from the user's files, measure, write."""
