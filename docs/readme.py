"README.md from nbs/index.ipynb and the figures in README.ar.md; with --check, exit 1 and show where they are not what is written."
import argparse
import difflib
import json
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


ARABIC = {    # name in results.json -> what the figure is
    'teacher_float_chrf': 'المعلِّم، من الإنجليزية إلى العربية، جمل لم يرها (chrF++)',
    'teacher_fp8_chrf': 'المعلِّم بعد FP8 (chrF++)',
    'translator_chrf': 'المترجم الخفيف، جمل لم يرها (chrF++)',
    'translator_exact': 'المترجم الخفيف، مطابقة تامة',
    'base_ar_acc': 'النموذج الأصلي، أسئلة عربية (التخمين 25 %)',
    'base_en_acc': 'النموذج الأصلي، أسئلة إنجليزية (التخمين 25 %)',
    'tuned_ar_acc': 'بعد الضبط، أسئلة عربية',
    'tuned_en_acc': 'بعد الضبط، أسئلة إنجليزية',
    'merged_ar_acc': 'بعد الدمج، أسئلة عربية',
    'merged_en_acc': 'بعد الدمج، أسئلة إنجليزية'}


def arabic(text):
    "README.ar.md with the table of recorded figures between its two marks."
    runs = [json.loads(path.read_text(encoding='utf-8')) for path in sorted((root/'docs/results').glob('tiny-*.json'))]
    lines = ['| | ' + ' | '.join(run['size'] for run in runs) + ' |', '|---|' + '--:|'*len(runs)]
    for name, what in ARABIC.items():
        scale, unit = (1, '') if name.endswith('chrf') else (100, '\u00a0%')    # the sign stays beside its number
        what = what.replace('chrF++', 'chrF++\u200e').replace(' %', '\u00a0%')    # else the bracket behind ++ turns it round
        if all(name in run for run in runs): lines.append(f'| {what} | ' + ' | '.join(f'{scale*run[name]:.1f}{unit}' for run in runs) + ' |')
    begin, end = '<!-- results: written by docs/readme.py -->\n', '<!-- end of results -->'
    before, _, rest = text.partition(begin)
    if end not in rest: sys.exit(f'README.ar.md: the marks of the table of results are gone: {begin.strip()} and {end}')
    return before + begin + '\n' + '\n'.join(lines) + '\n\n' + end + rest.partition(end)[2]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing')
    check = parser.parse_args().check
    front = root/'README.ar.md'
    for target, fresh, source in ((root/'README.md', readme(root/'nbs/index.ipynb'), 'nbs/index.ipynb'),
                                  (front, arabic(front.read_text(encoding='utf-8')), 'docs/results')):
        stored = target.read_text(encoding='utf-8') if target.exists() else ''
        if not check: target.write_text(fresh, encoding='utf-8')
        elif stored != fresh:
            diff = list(difflib.unified_diff(stored.splitlines(), fresh.splitlines(), target.name, source, lineterm='', n=0))
            print('\n'.join(diff[:20]))
            added, removed = (sum(line.startswith(sign) for line in diff[2:]) for sign in '+-')
            sys.exit(f'{target.name} is not what {source} gives: {added} lines to add, {removed} to remove; run docs/readme.py')


if __name__ == '__main__': main()
