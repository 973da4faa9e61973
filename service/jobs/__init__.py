"""Commands that classify files, folders and data sets: ``hal classify``, ``hal score``, ``hal slides``."""
