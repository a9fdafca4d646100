"""The engine's scripts, loaded once."""

from trigger_celery.engine.keys import preludes
from trigger_celery.store.scripts import ScriptLibrary

SCRIPTS = ScriptLibrary("trigger_celery.engine.lua", preludes())
