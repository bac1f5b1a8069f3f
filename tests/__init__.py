"""The tests of twistsmtp; they mirror its modules one to one."""

from hypothesis import settings

settings.register_profile("twistsmtp", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("twistsmtp")
