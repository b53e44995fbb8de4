"""Put on the path of a sweep by durability.py: its trials write no states, and its study lives in memory alone."""

import importlib.util
import sys
from importlib.abc import MetaPathFinder


def without_states(module):
    module.Checkpoints.due = lambda self, seconds: False
    module.Checkpoints.save = lambda self, state, report: None


def without_a_database(module):
    from optuna.storages import InMemoryStorage

    class Nowhere(InMemoryStorage):
        engine = type("Engine", (), {"dispose": lambda self: None})()

        def remove_session(self):
            pass

    module.RDBStorage = lambda url, **settings: Nowhere()
    module.make_file = lambda file: None


PATCHES = {"ray_jobs.checkpoints": without_states, "ray_jobs.study": without_a_database}


class Finder(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in PATCHES:
            return None
        patch = PATCHES.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            patch(module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
