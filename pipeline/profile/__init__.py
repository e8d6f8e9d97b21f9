"""Run the stages with the params of a profile, apart from the project's own files."""
