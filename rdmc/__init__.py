"""RDMC, a recursive dynamic multi-scale network with a contrastive prior that removes rain from photographs."""

from rdmc.network import RDMC, RDMCConfig

__all__ = ["RDMC", "RDMCConfig"]
