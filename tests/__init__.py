"""The tests of twistsmtp; they mirror its modules one to one."""

import os
import sys

from hypothesis import settings

settings.register_profile("twistsmtp", deadline=None, derandomize=True, max_examples=100)
settings.load_profile("twistsmtp")

if "workertrial" in sys.argv[0]:
    # Coverage is measured in the processes that run tests. In those that tests start it would take minutes, and show
    # little that is new.
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)
