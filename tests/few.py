"The probe family with parts of 250 rows instead of 20,000, so that a small table has parts enough for several workers."
import importlib.util
from pathlib import Path

from hala.core import store

spec = importlib.util.spec_from_file_location('probe', Path(__file__).with_name('probe.py'))
probe = importlib.util.module_from_spec(spec)
spec.loader.exec_module(probe)
RECIPES = probe.RECIPES
store.SLICE = 250
