"`make record` stores outputs: the same after every run of the same figures, without what differs from machine to machine."
import json
import os
import sys

import nbformat
import pytest
from conftest import PROBE, ROOT

sys.path.insert(0, str(ROOT/'docs'))
import record


ALL = record.notebooks()
# a run at hand is the probe's; these show one
OF_A_RUN = {p.stem for p in ALL if p.stem[:2].isdigit()} | {'read_a_run'}
# executed twice in some seconds each; of the others HALA_SLOW=1 executes those that need minutes
QUICK = {'04_corpus', '08_release', 'index', 'read_a_run', 'figures', 'cards', 'reading', 'view', 'licences', 'quality', 'recipe'}


def marked(path):
    slow = pytest.mark.skipif(path.stem not in QUICK and os.environ.get('HALA_SLOW') != '1', reason='takes minutes: HALA_SLOW=1')
    return pytest.param(path, marks=slow, id=path.relative_to(ROOT/'nbs').with_suffix('').as_posix())


@pytest.mark.parametrize('path', map(marked, ALL))
def test_a_second_recording_changes_no_byte(path, request, tmp_path, monkeypatch):
    "Outputs are the same after every run of the same figures; text and tags are left as they are; no folder of the machine is named."
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    if path.stem in OF_A_RUN:
        monkeypatch.setenv('HALA_RECIPES', str(PROBE))
        monkeypatch.setenv('HALA_RUNS', str(request.getfixturevalue('runs')))
    def again(n):
        record.execute(path, size='probe', target=tmp_path/f'{n}.ipynb')
        return (tmp_path/f'{n}.ipynb').read_text(encoding='utf-8')
    first = again(1)
    assert first == again(2)
    nb, source = json.loads(first), nbformat.read(path, 4)
    assert [''.join(c['source']) for c in nb['cells']] == [c.source for c in source.cells]
    assert [c['metadata'].get('tags') for c in nb['cells']] == [c.metadata.get('tags') for c in source.cells], 'papermill looks for one'
    assert str(ROOT) not in first
    if path.stem == '04_corpus': assert any('text/html' in o.get('data', {}) for c in nb['cells'] for o in c.get('outputs', [])), 'tables that pandas names'


def test_what_is_not_stored():
    widget = dict(output_type='display_data', data={'application/vnd.jupyter.widget-view+json': {}, 'text/plain': 'Loading'})
    log, warning = (dict(output_type='stream', name=name, text='cpu, 3 s left') for name in ('stdout', 'stderr'))
    table = dict(output_type='execute_result', data={'text/html': '<style>#T_a1b2c_row0 {}</style><td id="T_a1b2c_row0">'})
    assert record.still([widget, warning, log], 'print(1)') == [log]
    assert record.still([dict(log, text='2026-11-23T11:41:51.7703 | reset | INFO\n')], 'print(1)') == []
    assert record.still([log, table], "made = run_stage('04', MAKERS, **call)") == [table]
    assert 'a1b2c' not in table['data']['text/html']


def test_what_is_printed_is_one_text_however_the_kernel_cuts_it():
    "Pieces, a warning between them, and a cut within a line that a logger wrote."
    def pieces(*texts): return [dict(output_type='stream', name='stderr' if t == 'warning' else 'stdout', text=t) for t in texts]
    figure = dict(output_type='display_data', data={'text/plain': 'a figure'})
    whole = record.still(pieces('one\n2026-11-23T11:41 INFO\ntwo\n') + [figure] + pieces('three'), '')
    assert record.still(pieces('one', '\n2026-11-23', 'warning', 'T11:41 INFO\ntwo', '\n') + [figure] + pieces('th', 'ree'), '') == whole
    assert [o.get('text') for o in whole] == ['one\ntwo\n', None, 'three']


def test_a_cell_that_shows_times_keeps_none(tmp_path):
    cells = ['#| timed\nimport time; print(time.time())', 'print(2)']
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), tmp_path/'a.ipynb')
    record.execute(tmp_path/'a.ipynb')
    timed, plain = nbformat.read(tmp_path/'a.ipynb', 4).cells
    assert timed.outputs == [] and plain.outputs[0].text == '2\n'


def test_a_path_of_the_machine_is_refused(tmp_path, monkeypatch):
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell('import tempfile; print(tempfile.mkdtemp())')])
    nbformat.write(nb, tmp_path/'a.ipynb')
    with pytest.raises(SystemExit, match='print no paths'): record.execute(tmp_path/'a.ipynb')
