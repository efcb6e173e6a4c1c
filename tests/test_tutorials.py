"What two tutorials tell a reader to run, run: their own files, on a family small enough for a test. A run from the first stage takes minutes: HALA_SLOW=1."
import os

import nbformat
import pytest
from conftest import PROBE, ROOT, hala, made
from hala.core.pipeline import plan, run_stage
from hala.core.store import manifest, read_rows
from hala.core.text import content
from huggingface_hub import DatasetCard

slow = pytest.mark.skipif(os.environ.get('HALA_SLOW') != '1', reason='takes minutes: HALA_SLOW=1')


@pytest.fixture
def written(tmp_path, monkeypatch):
    "Name of a tutorial -> the recipe file that its cells write, with the family `probe` in the place of `tiny`; and what the cells hold."
    def write(name):
        cells, held = [c.source for c in nbformat.read(ROOT/f'nbs/tutorials/{name}.ipynb', 4).cells if c.cell_type == 'code'], {}
        monkeypatch.setenv('HALA_RECIPES', '')    # the cells set it: afterwards it is what it was
        for cell in cells[:1 + next(n for n, c in enumerate(cells) if "os.environ['HALA_RECIPES']" in c)]: exec(cell, held)  # noqa: S102
        text = held['file'].read_text(encoding='utf-8')
        assert text.count("r for r in built_in() if r.size == '1M'") == 1
        text = text.replace('built_in() if', f"__import__('runpy').run_path({str(PROBE)!r})['RECIPES'] if").replace("'1M'", "'probe'")
        file = tmp_path/held['file'].name
        file.write_text(text + 'RECIPES.append(small)\n', encoding='utf-8')
        monkeypatch.setenv('HALA_RECIPES', str(file))
        return file, held
    return write


def test_status_says_what_a_new_size_shares(written, runs):
    file, _ = written('add_a_size')
    said = hala('status', '--recipes', file, '--size', '2M', '--runs', runs)
    states = {line.split()[2]: line.split()[3] for line in said.splitlines()[2:]}
    own = {'base-2M', '05_sft', '06_merge', '07_evaluate', '08_release'}    # as the tutorial's own cell has it
    assert {a for a, state in states.items() if state != 'made'} == own and {'teacher', '03_translator', '04_corpus'} <= states.keys()


def test_a_file_of_instructions_gets_into_the_text_with_its_licence(written, tmp_path):
    from hala.sources import MAKERS
    _, held = written('add_a_source')
    folder = run_stage('00', MAKERS, 'cooking', str(tmp_path/'runs'), 'main', '', only='text')['text']
    rows = [r for r in read_rows(folder/'instructions.parquet') if r['licence'] == 'cc-by-nc-4.0']
    assert [r['messages_source'][0]['content'] for r in rows] == [r['question'] for r in held['mine']]
    assert 'cc-by-nc-4.0' in manifest(folder)['licences']


def test_the_new_size_runs(written, copied):
    file, _ = written('add_a_size')
    said = hala('run', '--recipes', file, '--size', '2M', '--runs', copied)
    assert [line.split()[1] for line in said.splitlines() if 'done before' in line] == ['compress', 'bilingual', 'translator', 'corpus']
    small, wider = (manifest(made(copied, '06_merge', size)) for size in ('probe', '2M'))
    assert wider['inputs']['base'] != small['inputs']['base'] and wider['inputs']['benchmarks'] == small['inputs']['benchmarks']
    assert (copied/'probe'/'2M'/'main'/'results.json').exists()


@slow
def test_the_new_source_runs_and_its_terms_reach_the_card(written, tmp_path):
    file, held = written('add_a_source')
    hala('run', '--recipes', file, '--size', 'cooking', '--runs', tmp_path/'runs')
    p = plan('cooking', str(tmp_path/'runs'))
    decided = [r for name in ('corpus', 'rejects') for r in read_rows(p.folder('04_corpus')/f'{name}.parquet')]
    asked = {content(r['messages_source']) for r in decided if r['licence'] == 'cc-by-nc-4.0'}
    assert asked == {r['question'] for r in held['mine']}
    card = DatasetCard.load(p.folder('08_release')/'cooking-corpus'/'README.md')
    assert card.data.license == 'cc-by-nc-4.0' and 'not for commercial use: because of' in card.text
