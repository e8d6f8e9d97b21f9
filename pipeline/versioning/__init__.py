"""git and DVC: the commit, dvc.lock, and their commands."""
