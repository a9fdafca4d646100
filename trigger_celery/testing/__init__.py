"""The testing kit: runs that execute in the test's own process, time that passes when it is told to.

May import everything but `cli` and `contrib`; nothing imports it. Start reading at `env.py` (a real
engine) or at `inline.py` (none at all). The pytest plugin is `pytest_trigger_celery.py`, beside this
package, so that it costs nothing where it is not used.
"""

from trigger_celery.testing.env import TriggerEnv
from trigger_celery.testing.inline import Inline, trigger_inline

__all__ = ["Inline", "TriggerEnv", "trigger_inline"]
