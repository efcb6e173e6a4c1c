"README.md from nbs/index.ipynb, the figures in README.ar.md, where the Colab badges lead; with --check, exit 1 and show where they are not what is written."
import argparse
import difflib
import json
import re
import sys
from configparser import ConfigParser
from pathlib import Path

from fastcore.nbio import read_nb

root = Path(__file__).resolve().parents[1]
CALLOUT = re.compile(r'^:::+ *\{\.callout-(note|tip|warning|important|caution)[^}]*\}\n(.*?)\n:::+ *$', re.M | re.S)
LINK = re.compile(r'(\]\(|(?:src|href)=")(?![a-z]+:|/|#)([^)"\s]+)')
CODE = re.compile(r'(^```.*?^```|`[^`\n]*`)', re.M | re.S)
COLAB = 'https://colab.research.google.com/github/'
ADDRESS = 'CONTRIBUTING.md#a-public-address'    # where a badge leads as long as there is none
BADGE = re.compile(r'(\[!\[[^]]*\]\([^)\s]*colab\.svg\)\])\([^)\s]*\)')


def directives(cell):
    "The `#| name: value` lines at the head of a code cell, as a dict."
    return dict(re.findall(r'^#\| *([\w-]+) *:? *(.*?) *$', cell.source, re.M))


def link(match):
    "A link that holds in nbs/, as one that holds in the folder above."
    target, mark, anchor = match[2].partition('#')
    return match[1] + (root/'nbs'/target).resolve().relative_to(root).as_posix() + mark + anchor


def tight(text):
    "A per cent sign stays on the line of its number; code is left as it is."
    return ''.join(part if part.startswith('`') else re.sub(r'(?<=\d) (?=%)', '\u00a0', part) for part in CODE.split(text))


def colab(notebook, address=None):
    "Where Colab opens a notebook; empty without an address in settings.ini."
    if address is None:
        settings = ConfigParser(interpolation=None)
        settings.read(root/'settings.ini', encoding='utf-8')
        address = settings['DEFAULT']['git_url']
    repository = re.fullmatch(r'https://github\.com/([\w.-]+/[\w.-]+?)(?:\.git)?/?', address) if address else None
    if address and not repository: sys.exit(f'settings.ini: git_url {address!r} is not of the kind https://github.com/OWNER/NAME; Colab opens no other')
    return f'{COLAB}{repository[1]}/blob/main/nbs/{notebook}' if repository else ''


def badges(text, notebook, above='../'):    # above: from the text to the root of the repository
    "A text with its badge leading where `colab` says, or to what has to be done first: an empty list of somebody's repositories helps nobody."
    return BADGE.sub(lambda badge: f'{badge[1]}({colab(notebook) or above + ADDRESS})', text)


def markdown(text):
    "Quarto's callouts as GitHub's alerts; links from where README.md stands."
    text = tight(text)
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


GUESSING = ' (التخمين 25 %)'
ARABIC = {    # name in results.json -> what the figure is; every one that the English page has
    'teacher_float_chrf': 'المعلِّم، من الإنجليزية إلى العربية، جمل لم يرها (chrF++)',
    'teacher_fp8_chrf': 'المعلِّم بعد FP8 (chrF++)',
    'judge_precision': 'أزواج بشرية رُفضت وكانت خاطئة حقًّا',
    'judge_recall': 'أزواج بشرية خاطئة كُشفت',
    'translator_base_chrf': 'النموذج الأصلي قبل أن يتعلّم الترجمة (chrF++)',
    'translator_chrf': 'المترجم الخفيف، جمل لم يرها (chrF++)',
    'translator_exact': 'المترجم الخفيف، مطابقة تامة',
    'catalog_chrf': 'المترجم الخفيف، عبارات من برامج حقيقية (chrF++)',
    **{f'{model}_{lang}_acc': f'{name}، {language}{GUESSING}'
       for model, name in (('base', 'النموذج الأصلي'), ('tuned', 'بعد الضبط'), ('merged', 'بعد الدمج'))
       for lang, language in (('ar', 'أسئلة عربية'), ('en', 'أسئلة إنجليزية'))},
    'tuned_ar_generate': 'بعد الضبط، أجوبة عربية حرة، مطابقة تامة',
    'tuned_ar_unseen_acc': f'بعد الضبط، أسئلة عربية عن حقائق لم تُعلَّم بالعربية قط{GUESSING}',
    'tuned_ar_nowhere_acc': f'بعد الضبط، أسئلة عربية عن حقائق لم ترد في أي نص{GUESSING}',
    'tuned_ar_letters_acc': f'بعد الضبط، أسئلة عربية يُجاب عنها بحرف{GUESSING}'}


def arabic_figure(name, value, interval):
    "As `hala.cli.figure` has it in English; the sign and the ends of the interval stay beside their numbers."
    scale, sign = (1, '') if name.endswith('chrf') else (100, '\u00a0%')
    return f'{scale*value:.1f}{sign}' + (' ({:.1f}\u00a0إلى\u00a0{:.1f})'.format(*(scale*end for end in interval)) if interval else '')


def arabic(text):
    "README.ar.md with the table of recorded figures between its two marks."
    runs = [json.loads(path.read_text(encoding='utf-8')) for path in sorted((root/'docs/results').glob('tiny-*.json'))]
    lines = ['| | ' + ' | '.join(run['size'] for run in runs) + ' |', '|---|' + '--:|'*len(runs)]
    for name, what in ARABIC.items():
        # a bracket behind a Latin word would be read before it, and one behind ++ would turn round
        what = tight(what).replace(' (', ' \u200f(').replace('chrF++', 'chrF++\u200e')
        if all(name in run for run in runs):
            lines.append(f'| {what} | ' + ' | '.join(arabic_figure(name, run[name], run.get('intervals', {}).get(name)) for run in runs) + ' |')
    machines = {f"{m['cpu']}، عدد الأنوية {m['cores']}، الذاكرة {m['memory_gib']} GiB" for run in runs for m in run['machines']}
    took = {run['size']: round(run['seconds']/60) for run in runs}
    took = '، '.join(f"{size}: {n} {'دقائق' if 3 <= n <= 10 else 'دقيقة'}" for size, n in took.items())
    lines += ['', f"*الجهاز: {'؛ '.join(sorted(machines))}. العمل في المراحل، وفيه تدريب المعلِّم ثم الأصل: {took}؛ وما تشترك فيه العائلة يُصنع مرة واحدة.*"]
    begin, end = '<!-- results: written by docs/readme.py -->\n', '<!-- end of results -->'
    before, _, rest = text.partition(begin)
    if end not in rest: sys.exit(f'README.ar.md: the marks of the table of results are gone: {begin.strip()} and {end}')
    return tight(before) + begin + '\n' + '\n'.join(lines) + '\n\n' + end + tight(rest.partition(end)[2])


def generated():
    "What is written here: path, its text, what that comes from."
    for name in ('index.ipynb', '05_sft.ipynb'):
        path = root/'nbs'/name
        yield path, badges(path.read_text(encoding='utf-8'), name), 'settings.ini'
    yield root/'README.md', readme(root/'nbs/index.ipynb'), 'nbs/index.ipynb'
    front = root/'README.ar.md'
    yield front, badges(arabic(front.read_text(encoding='utf-8')), 'index.ipynb', ''), 'docs/results and settings.ini'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='write nothing')
    check = parser.parse_args().check
    for target, fresh, source in generated():
        stored = target.read_text(encoding='utf-8') if target.exists() else ''
        if not check: target.write_text(fresh, encoding='utf-8')
        elif stored != fresh:
            diff = list(difflib.unified_diff(stored.splitlines(), fresh.splitlines(), target.name, source, lineterm='', n=0))
            print('\n'.join(diff[:20]))
            added, removed = (sum(line.startswith(sign) for line in diff[2:]) for sign in '+-')
            sys.exit(f'{target.name} is not what {source} gives: {added} lines to add, {removed} to remove; run docs/readme.py')


if __name__ == '__main__': main()
