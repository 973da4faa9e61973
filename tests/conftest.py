"""What holds for every test."""

from hypothesis import settings

# On a machine that does other things too, an example takes a hundred times as long as it needs now and then.
settings.register_profile("hal", deadline=None)
settings.load_profile("hal")
