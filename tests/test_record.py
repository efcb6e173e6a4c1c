"`make record` stores outputs: the same after every run of the same figures, without what differs from machine to machine."
import json
import sys

import nbformat
import pytest
from conftest import PROBE, ROOT

sys.path.insert(0, str(ROOT/'docs'))
import record


@pytest.fixture
def recorded(runs, tmp_path, monkeypatch):
    monkeypatch.setenv('HALA_RECIPES', str(PROBE))
    monkeypatch.setenv('HALA_RUNS', str(runs))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    def again(n):
        record.execute(ROOT/'nbs/04_corpus.ipynb', size='probe', target=tmp_path/f'{n}.ipynb')
        return (tmp_path/f'{n}.ipynb').read_text(encoding='utf-8')
    return again


def test_a_second_recording_changes_no_byte(recorded):
    "A notebook that shows tables with names that pandas draws; its text is left as it is."
    first = recorded(1)
    assert first == recorded(2)
    nb, source = json.loads(first), nbformat.read(ROOT/'nbs/04_corpus.ipynb', 4)
    assert [''.join(c['source']) for c in nb['cells']] == [c.source for c in source.cells]
    assert [c['metadata'].get('tags') for c in nb['cells']] == [c.metadata.get('tags') for c in source.cells], 'papermill looks for one'
    shown = [o for c in nb['cells'] for o in c.get('outputs', [])]
    assert any('text/html' in o.get('data', {}) for o in shown) and str(ROOT) not in first


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
