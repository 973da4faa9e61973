"""Many images to files of results: ``hal classify`` (folders), ``hal score`` (archives), ``hal slides summary``."""
