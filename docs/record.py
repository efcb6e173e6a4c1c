"After `hala run`: the figures of finished runs to docs/results/, and from there to the outputs stored in nbs/index.ipynb, to README.md and README.ar.md."
import json
import sys
from pathlib import Path

import nbformat
from fastcore.nbio import nb2str
from nbclient import NotebookClient
from nbdev.clean import clean_nb
from readme import arabic, readme, root

from hala.core.pipeline import plan
from hala.core.store import manifest, write_json

LIMIT = 150*1024    # bytes a stored notebook may have


def record(size):
    "docs/results/<family>-<size>.json: the figures of the finished run `main`, and the machines that it was made on (one, as a rule)."
    run = plan(size)
    missing = [artifact for artifact in run.graph if not run.made(artifact)]
    if missing: sys.exit(f'{size} is not finished, {missing[0]} is missing: hala run --size {size}')
    machines = [manifest(run.folder(artifact))['machine'] for artifact in run.graph]
    results = json.loads((run.run/'results.json').read_text(encoding='utf-8'))
    (root/'docs/results').mkdir(exist_ok=True)
    write_json(root/f'docs/results/{run.recipe.family}-{size}.json', {
        'family': run.recipe.family, 'size': size, 'machines': [machine for n, machine in enumerate(machines) if machine not in machines[:n]], **results})


def execute(path):
    "Run the notebook and store its outputs as nbdev-clean would; refused where they name this machine's folders or weigh too much."
    ran = NotebookClient(nbformat.read(path, as_version=4), resources={'metadata': {'path': str(path.parent)}}).execute()
    notebook = json.loads(nbformat.writes(ran))
    clean_nb(notebook)
    text = nb2str(notebook)
    if len(text.encode()) > LIMIT: sys.exit(f'{path.name} would have {len(text.encode())//1024} KB, more than {LIMIT//1024}: show less in it')
    for folder in (root, Path.home()):
        if f'{folder}/' in text: sys.exit(f'{path.name} would hold the path {folder}: print no paths in it')
    path.write_text(text, encoding='utf-8')


def main():
    for size in sys.argv[1:]: record(size)
    index = root/'nbs/index.ipynb'
    execute(index)
    (root/'README.md').write_text(readme(index), encoding='utf-8')
    front = root/'README.ar.md'
    front.write_text(arabic(front.read_text(encoding='utf-8')), encoding='utf-8')


if __name__ == '__main__': main()
