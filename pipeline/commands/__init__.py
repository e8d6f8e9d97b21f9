"""The acts as the command line has them: arguments, help, exit codes. ``pipeline.stages`` does the work."""
