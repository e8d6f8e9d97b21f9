"""Photographs of real rain, without clean counterparts: measures that need none, and a sheet to look at."""
