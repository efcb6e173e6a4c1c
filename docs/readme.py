"README.md from nbs/index.ipynb; with --check, exit 1 and show what differs where README.md is not what the notebook gives."
import argparse
import difflib
import re
import sys
from pathlib import Path

from fastcore.nbio import read_nb

root = Path(__file__).resolve().parents[1]
CALLOUT = re.compile(r'^:::+ *\{\.callout-(note|tip|warning|important|caution)[^}]*\}\n(.*?)\n:::+ *$', re.M | re.S)
LINK = re.compile(r'(\]\(|(?:src|href)=")(?![a-z]+:|/|#)([^)"\s]+)')


def directives(cell):
    "The `#| name: value` lines at the head of a code cell, as a dict."
    return dict(re.findall(r'^#\| *([\w-]+) *:? *(.*?) *$', cell.source, re.M))


def link(match):
    "A link that holds in nbs/, as one that holds in the folder above."
    target, mark, anchor = match[2].partition('#')
    return match[1] + (root/'nbs'/target).resolve().relative_to(root).as_posix() + mark + anchor


def markdown(text):
    "Quarto's callouts as GitHub's alerts; links from where README.md stands."
    quoted = CALLOUT.sub(lambda match: f'> [!{match[1].upper()}]\n' + '\n'.join(f'> {line}'.rstrip() for line in match[2].splitlines()), text)
    return LINK.sub(link, quoted)


def shown(output):
    "One output as Markdown; an error and an output that a README cannot show end the program."
    if output.output_type == 'stream': data = {'text/plain': output.text}
    elif output.output_type == 'error': sys.exit(f'nbs/index.ipynb: a stored output is an error, {output.ename}')
    else: data = output.data
    for kind in ('text/markdown', 'text/plain'):
        if kind in data and not any(other.startswith('image/') for other in data):
            text = ''.join(data[kind]).strip('\n')
            return markdown(text) if kind == 'text/markdown' else f'```text\n{text}\n```'
    sys.exit(f'nbs/index.ipynb: README.md cannot show an output of {", ".join(data)}; store the picture as a file and link to it')


def cell_text(cell):
    "What one cell gives to README.md, block by block."
    if cell.cell_type == 'markdown': return [markdown(cell.source)]
    said = directives(cell)
    if cell.cell_type != 'code' or said.get('include') == 'false' or said.keys() & {'hide', 'default_exp'}: return []
    code = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip('\n')
    blocks = [f'```python\n{code}\n```'] if code and said.get('echo') != 'false' else []
    return blocks if said.get('output') == 'false' else blocks + [shown(output) for output in cell.get('outputs', [])]


def readme(path):
    "The text of README.md."
    blocks = [block.strip('\n') for cell in read_nb(path).cells for block in cell_text(cell)]
    return '<!-- generated from nbs/index.ipynb by docs/readme.py -->\n\n' + '\n\n'.join(block for block in blocks if block) + '\n'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing')
    check = parser.parse_args().check
    target, fresh = root/'README.md', readme(root/'nbs/index.ipynb')
    stored = target.read_text(encoding='utf-8') if target.exists() else ''
    if not check: target.write_text(fresh, encoding='utf-8')
    elif stored != fresh:
        diff = list(difflib.unified_diff(stored.splitlines(), fresh.splitlines(), 'README.md', 'nbs/index.ipynb', lineterm='', n=0))
        print('\n'.join(diff[:20]))
        added, removed = (sum(line.startswith(sign) for line in diff[2:]) for sign in '+-')
        sys.exit(f'README.md is not what nbs/index.ipynb gives: {added} lines to add, {removed} to remove; run docs/readme.py')


if __name__ == '__main__': main()
