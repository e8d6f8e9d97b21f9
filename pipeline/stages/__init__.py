"""One file an act. Stages never import one another: what two of them need lives beside this folder or in ``rdmc``."""
