"Every notebook's examples, run against the exported module instead of the cells that define it."
from pathlib import Path

import pytest
from execnb.shell import CaptureShell
from fastcore.nbio import read_nb
from nbdev.config import get_config
from nbdev.processors import _default_exp
from nbdev.test import nb_test_cells

config = get_config(Path(__file__))
exported = {path: module for path in sorted(config.nbs_path.rglob('*.ipynb'))
            if '.ipynb_checkpoints' not in path.parts and (module := _default_exp(read_nb(path)))}


@pytest.mark.parametrize('path', exported, ids=lambda path: str(path.relative_to(config.nbs_path).with_suffix('')))
def test_examples_against_package(path, monkeypatch):
    "`#| slow` and `#| gpu` cells need a finished run or a GPU and are left out, as nbdev-test does; the cell tagged `parameters` is run."
    monkeypatch.setenv('IN_TEST', '1')
    monkeypatch.chdir(path.parent)
    shell = CaptureShell(path)
    try:
        # private names and imports too: in the notebook, too, a cell sees everything above it
        shell.run(f'import hala.{exported[path]} as exported\n'
                  'globals().update({name: value for name, value in vars(exported).items() if not name.startswith("__")}); del exported')
        assert shell.exc is None, f'hala.{exported[path]} does not import\n{shell.prettytb()}'
        tested = nb_test_cells(path, skip_flags=config.tst_flags.split())
        examples = [cell for cell in tested if not {'export', 'exporti', 'exports'} & cell.directives_.keys()]
        assert examples, f'{path.name} defines a module and shows no example of it'
        for cell in examples:
            shell.cell(cell)
            assert shell.exc is None, f'{path.name}, cell {cell.id}:\n{cell.source}\n{shell.prettytb()}'
    finally: shell.close()
