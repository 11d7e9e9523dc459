"""What every test shares: the Hypothesis profile and the folder of public traces."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import Phase, settings

# The default is repeatable: the same examples on every machine, and a failure prints how to get it back.
# HYPOTHESIS_PROFILE=thorough takes more of them, as CI does; explore draws new ones each time, and many.
settings.register_profile("repeatable", derandomize=True, print_blob=True, deadline=None, max_examples=50)
settings.register_profile("thorough", derandomize=True, print_blob=True, deadline=None)
settings.register_profile("explore", derandomize=False, print_blob=True, deadline=None, max_examples=2_000)
# For mutants (`make mutation`): a fault that a fourth of the examples shows need not wait for the rest, nor for the
# smallest example that shows it.
settings.register_profile(
    "quick", derandomize=True, deadline=None, max_examples=25, phases=(Phase.explicit, Phase.reuse, Phase.generate)
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


# A job in the background of a script ignores Ctrl-C, and so would the programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def traces_dir() -> Path:
    """The folder of public traces named by ARGPROD_TRACES; the test skips where the variable is unset."""
    named = os.environ.get("ARGPROD_TRACES")
    if not named:
        pytest.skip("ARGPROD_TRACES is unset: it names the folder of public traces")
    folder = Path(named)
    assert folder.is_dir(), f"ARGPROD_TRACES names {named}, which is not a folder"
    return folder
