"""After `hala run`: the figures of finished runs to docs/results/, README.md and README.ar.md; and the outputs of every notebook, stored in it anew.
Nothing is made again: a stage's notebook finds its artifacts finished and shows them. A cell marked `#| timed` shows times, which are not stored."""
import json
import re
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import nbformat
from fastcore.nbio import nb2str
from nbclient import NotebookClient
from nbdev.clean import clean_nb
from nbdev.config import get_config
from readme import arabic, directives, readme, root

from hala.core.arms import ANSWERS, arm_plans, arms_record
from hala.core.pipeline import plan
from hala.core.provenance import intervals
from hala.core.recipe import ARMS
from hala.core.store import manifest, write_json

LIMIT = 150*1024    # bytes a stored notebook may have
LOG = re.compile(r'^\d{4}-\d\d-\d\d[T ]\d\d:.*\n?', re.M)    # a line that begins with a time, as loggers write it


def record(size):
    "docs/results/<family>-<size>.json: the figures of the finished run `main`, and the machines that it was made on (one, as a rule)."
    run = plan(size)
    missing = [artifact for artifact in run.graph if not run.made(artifact)]
    if missing: sys.exit(f'{size} is not finished, {missing[0]} is missing: hala run --size {size}')
    made = {artifact: manifest(run.folder(artifact)) for artifact in run.graph}
    machines = [m['machine'] for m in made.values()]
    trained = {artifact: {k: made[artifact][k] for k in ('tokens', 'seconds')} for artifact in made if (run.folder(artifact)/'curve.json').exists()}
    results = json.loads((run.run/'results.json').read_text(encoding='utf-8'))
    (root/'docs/results').mkdir(exist_ok=True)
    write_json(root/f'docs/results/{run.recipe.family}-{size}.json', {
        'family': run.recipe.family, 'size': size, 'machines': [machine for n, machine in enumerate(machines) if machine not in machines[:n]],
        **results, 'intervals': intervals(made.values()), 'trained': trained})


def record_arms(size):
    "docs/results/arms-<family>-<size>.json (or -<set>.json at its end), for each set whose every arm is finished. No `size` in it: it is no run."
    for which in ARMS:
        plans = arm_plans(size, which=which)
        if not all(p.made(ANSWERS) for p in plans.values()): continue
        family, end = plans['main'].recipe.family, '' if which == 'claim' else f'-{which}'
        write_json(root/f'docs/results/arms-{family}-{size}{end}.json', {'arms': which, 'of': f'{family} {size}', **arms_record(plans)})


def printed(outputs):
    "Outputs in which all that is printed between two others is one text: a kernel cuts it into pieces by the clock."
    found = []
    for o in outputs:
        if o['output_type'] != 'stream': found.append(o)
        elif o['name'] == 'stderr': continue
        elif found and found[-1]['output_type'] == 'stream': found[-1]['text'] += ''.join(o['text'])
        else: found.append(o | dict(text=''.join(o['text'])))
    return found


def still(outputs, source):
    "Outputs as they are after every run of the same figures: no progress, no warnings, nothing of a stage's own log, no random ids."
    kept = []
    for o in printed(outputs):
        if o['output_type'] == 'stream':
            o['text'] = LOG.sub('', o['text'])
            if 'run_stage(' in source or not o['text'].strip(): continue
        if 'application/vnd.jupyter.widget-view+json' in o.get('data', {}): continue
        for kind, text in o.get('data', {}).items():
            if kind == 'text/html': o['data'][kind] = re.sub(r'\bT_[0-9a-f]{5}', 'T_table', ''.join(text))    # pandas draws the name of a styled table
        kept.append(o)
    return kept


def execute(path, size='', target=None):
    "Run the notebook and store its outputs as nbdev-clean would; refused where they name this machine's folders or weigh too much."
    said = nbformat.read(path, as_version=4)
    sources = [c.source for c in said.cells]
    for c in said.cells:
        if c.cell_type == 'code' and directives(c).keys() & {'gpu'}: c.source = ''
        if size and 'parameters' in c.metadata.get('tags', []): c.source = re.sub(r"^size: str = .*$", f'size: str = {size!r}', c.source, flags=re.M)
    ran = NotebookClient(said, resources={'metadata': {'path': str(path.parent)}}, timeout=None, startup_timeout=600).execute()
    for c, source in zip(ran.cells, sources):
        c.source = source
        if c.cell_type == 'code': c.outputs = [] if 'timed' in directives(c) else [nbformat.from_dict(o) for o in still(c.outputs, source)]
    ran.metadata.pop('widgets', None)    # states of progress bars, which nbdev-clean would keep
    notebook = json.loads(nbformat.writes(ran))
    clean_nb(notebook, allowed_cell_metadata_keys=get_config(root).allowed_cell_metadata_keys)    # papermill looks for a tag
    text = nb2str(notebook)
    if len(text.encode()) > LIMIT: sys.exit(f'{path.name} would have {len(text.encode())//1024} KB, more than {LIMIT//1024}: show less in it')
    for folder in (root, Path.home(), Path(tempfile.gettempdir())):
        if f'{folder}/' in text: sys.exit(f'{path.name} would hold the path {folder}: print no paths in it')
    (target or path).write_text(text, encoding='utf-8')


def notebooks():
    "Every notebook of the project; the largest first, so that two processes end together."
    found = [p for p in (root/'nbs').rglob('*.ipynb') if '.ipynb_checkpoints' not in p.parts]
    return sorted(found, key=lambda p: (not p.name[:2].isdigit(), p))


def main():
    for size in sys.argv[1:]: record(size); record_arms(size)
    index = root/'nbs/index.ipynb'
    with ProcessPoolExecutor(2) as pool:
        for path, _ in zip(paths := notebooks(), pool.map(execute, paths)): print(path.relative_to(root), flush=True)
    (root/'README.md').write_text(readme(index), encoding='utf-8')
    front = root/'README.ar.md'
    front.write_text(arabic(front.read_text(encoding='utf-8')), encoding='utf-8')


if __name__ == '__main__': main()
