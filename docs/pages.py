"The site: every notebook, the API, the figures and the other texts as Sphinx reads them, then Sphinx. Nothing is executed: outputs are those stored."
import argparse
import ast
import html
import inspect
import json
import os
import re
import shutil
import sys
from dataclasses import is_dataclass
from importlib import import_module
from pathlib import Path

import nbformat
from fastcore.docments import docments
from fastcore.nbio import read_nb
from lxml.html import fragment_fromstring, tostring
from readme import CALLOUT, directives, root, tight
from sphinx.cmd.build import main as sphinx

from hala._modidx import d as index
from hala.cli import MEANING, SHARES, figure
from hala.core.arms import arms_lines

nbs = root/'nbs'
LONG = 20    # lines; a longer cell is folded
SHORT = 40    # letters of a line that a telephone shows whole
LINK = re.compile(r'(\]\()(?![a-z]+:|#)([^)\s]+)(\))')
TEXTS = {'README.ar.md': 'ar.md', 'CHANGELOG.md': 'changelog.md', 'CONTRIBUTING.md': 'contributing.md', 'README.md': 'index.ipynb'}
SECTIONS = {'stages': ('Stages', 'Nine notebooks, in the order in which they run. Each explains its stage, holds its code, and is the job itself.'),
            'core': ('Core', 'What the stages stand on, and the command line above them.'),
            'tutorials': ('Tutorials', 'One task each, from beginning to end, and why the project is written in notebooks; tested like the rest.')}


def notebooks():
    "Page -> notebook, in reading order; a page is the notebook's path in nbs/ without its ending."
    found = [p for p in sorted(nbs.rglob('*.ipynb')) if not any(part.startswith(('.', '_')) for part in p.relative_to(nbs).parts)]
    return {p.relative_to(nbs).with_suffix('').as_posix(): read_nb(p) for p in found}


def headline(nb):
    "Title and the sentence below it, of a notebook."
    text = nb.cells[0].source
    title, said = re.search(r'^# (.+)$', text, re.M), re.search(r'^> (.+)$', text, re.M)
    if not title: sys.exit(f'a notebook that does not begin with a title: {text[:60]!r}')
    return title[1].strip(), said[1].strip() if said else ''


def section(page):
    "The section a notebook belongs to: stages are numbered, a folder is a section, and the rest stands with the core."
    folder, _, name = page.rpartition('/')
    return folder or ('stages' if name[:2].isdigit() else 'core')


class Site:
    "Pages as they are laid out for Sphinx, and what is copied beside them."
    def __init__(self, out):
        self.src, self.extra, self.pages = out/'src', out/'extra', notebooks()
        for name in ('src', 'extra', 'static', 'doctrees', 'html'): shutil.rmtree(out/name, ignore_errors=True)
        self.module = {name: next((f'hala.{exp}' for c in nb.cells if (exp := directives(c).get('default_exp'))), None) for name, nb in self.pages.items()}
        self.explained = {module: name for name, module in self.module.items() if module}
        names = [full for module in index['syms'].values() for full in module]
        self.symbols = {short: [f for f in names if f.rpartition('.')[2] == short] for short in {f.rpartition('.')[2] for f in names}}

    def write(self, page, text, where=None):
        path = (where or self.src)/page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding='utf-8')

    def link(self, target, folder, page, copy=False):    # copy: for the Markdown copy of the page, beside what Sphinx writes
        "A link as it stands in a file of `folder`, as one that holds on `page`."
        path, mark, anchor = target.partition('#')
        at = (folder/path).resolve()
        if not at.is_file(): sys.exit(f'{page}: links to {target}, and there is no such file')
        inside = at.relative_to(root).as_posix()
        if inside in TEXTS: there = TEXTS[inside]
        elif nbs in at.parents: there = at.relative_to(nbs).as_posix()
        else: there = f'{"source" if copy else "files"}/{inside}'    # of files/ Sphinx takes only what its own pages link to
        if at.suffix == '.ipynb' or inside in TEXTS:
            if copy: there = there.removesuffix('.ipynb') + '.md' if there.endswith('.ipynb') else there.removesuffix('.md') + '.html'
        else:
            held = (self.extra if copy else self.src)/there
            held.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(at, held)
        return os.path.relpath(there, Path(page).parent) + mark + anchor

    def prose(self, text, folder, page, module=None):
        "Markdown as MyST reads it: callouts, links, and the names of the package's functions as links to their pages."
        def known(match):
            hits = self.symbols.get(match[1], [])
            own = [h for h in hits if h == f'{module}.{match[1]}']
            # a plain word may mean something else than a function of another module that is called so
            hit = [] if match[1] == 'hala' else own or (hits if len(hits) == 1 and re.search('[A-Z_]', match[1]) else [])    # the package, a name on the hub
            return f'{{py:obj}}`{match[1]} <{hit[0]}>`' if hit and '._' not in hit[0] else match[0]
        text = CALLOUT.sub(lambda m: f':::{{{m[1]}}}\n{m[2]}\n:::', text)
        text = LINK.sub(lambda m: m[1] + self.link(m[2], folder, page) + m[3], text)
        blocks = re.split(r'(^```.*?^```)', tight(text), flags=re.M | re.S)    # code in fences stays as it is
        return ''.join(b if b.startswith('```') else re.sub(r'(?<![`\w}])`(\w+)`(?!`)', known, b) for b in blocks)

    def notebook(self, page):
        "One notebook: directives become tags that MyST-NB knows, long code is folded."
        cells, module, folder = [], self.module[page], (nbs/page).parent
        for cell in self.pages[page].cells:
            said = directives(cell) if cell.cell_type == 'code' else {}
            if cell.cell_type == 'markdown': cells.append(nbformat.v4.new_markdown_cell(self.prose(cell.source, folder, page, module)))
            elif cell.cell_type == 'code' and not said.keys() & {'default_exp', 'hide'} and said.get('include') != 'false': cells.append(code(cell, said))
        source = os.path.relpath(f'files/nbs/{page}.ipynb', Path(page).parent)
        said = f'{{download}}`{Path(page).name}.ipynb <{source}>`'
        if module: said += f' · exported to {{doc}}`{module} </api/{module}>`'
        if page != 'index': cells[0].source = re.sub(r'^(# .+\n+(?:>.*\n?)*)', rf'\1\n{{.from}}\n{said}\n\n', cells[0].source, count=1, flags=re.M)
        (self.src/f'files/nbs/{page}').parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(nbs/f'{page}.ipynb', self.src/f'files/nbs/{page}.ipynb')
        if page == 'index': cells.append(nbformat.v4.new_markdown_cell(self.contents()))
        python = {'kernelspec': {'name': 'python3', 'display_name': 'Python 3'}, 'language_info': {'name': 'python'}}
        nb = nbformat.v4.new_notebook(cells=cells, metadata=python)
        for n, cell in enumerate(nb.cells): cell['id'] = f'c{n}'
        self.write(f'{page}.ipynb', nbformat.writes(nb))
        self.write(f'{page}.md', plain(self.pages[page], lambda m: m[1] + self.link(m[2], folder, page, copy=True) + m[3]), self.extra)

    def sections(self):
        "Section -> its pages."
        found = {}
        for page in self.pages:
            if page != 'index': found.setdefault(section(page), []).append(page)
        return dict(sorted(found.items(), key=lambda item: (list(SECTIONS).index(item[0]) if item[0] in SECTIONS else len(SECTIONS), item[0])))

    def contents(self):
        lines = [f'{SECTIONS.get(s, (s.capitalize(),))[0]} <{s}/index>' for s in self.sections()]
        return toctree([*lines, 'API <api/index>', 'Results <results>', 'العربية <ar>', 'Changelog <changelog>', 'Contributing <contributing>'])

    def section_pages(self):
        for name, pages in self.sections().items():
            title, said = SECTIONS.get(name, (name.capitalize(), ''))
            cards = ''.join(card(*headline(self.pages[p]), f'/{p}') for p in pages)
            self.write(f'{name}/index.md', f'# {title}\n\n{said}\n\n::::{{grid}} 1 1 2 3\n:gutter: 3\n{cards}::::\n\n' + toctree([f'/{p}' for p in pages]))

    def api(self):
        modules = sorted(index['syms'], key=lambda m: (m.count('.'), m))
        for name in modules: self.write(f'api/{name}.md', self.module_page(name))
        cards = ''.join(card(f'`{m}`', headline(self.pages[self.explained[m]])[1], f'/api/{m}') for m in modules)
        self.write('api/index.md', '# API\n\nMade from the comments on each argument. The reasons, and an example of each, are in the notebooks.\n\n'
                   f'::::{{grid}} 1 1 2 3\n:gutter: 3\n{cards}::::\n\n' + toctree(modules))

    def module_page(self, name):
        module, page = import_module(name), self.explained[name]
        title, said = headline(self.pages[page])
        parts = [f'# {name}', f'{prose_line(said)} Explained in {{doc}}`{title} </{page}>`.', f'```{{py:module}} {name}\n```']
        names = [full.removeprefix(f'{name}.') for full in index['syms'][name]]
        parts += [described(getattr(module, n), n, names) for n in names if '.' not in n and not n.startswith('_')]
        constants = [f'| `{n}` | {type(v).__name__} |' for n in module.__all__ if not callable(v := getattr(module, n))]
        if constants: parts.append('## Constants\n\n| name | type |\n|---|---|\n' + '\n'.join(constants))
        return '\n\n'.join(parts) + '\n'

    def results(self):
        "docs/results/*.json, a table for each family; nobody types a figure."
        files = sorted((root/'docs/results').glob('*.json'), key=lambda p: p.stem)
        recorded = {p: json.loads(p.read_text(encoding='utf-8')) for p in files}
        recorded = {p: r for p, r in recorded.items() if not r.get('of', '').startswith('probe ')}    # the tests' family: eight questions say nothing
        runs = [r for r in recorded.values() if {'family', 'size'} <= r.keys()]
        parts = ['# Results', 'Figures of recorded runs, as `make record` wrote them. Shares and chrF++ are of 100, in brackets their 95 % intervals; '
                 'a mark at 25 stands for chance. Recordings were made on different days, each with the code of its day and on the machine below its '
                 'tables. Training takes another way on a processor with other vector instructions (AVX2, AVX512), so figures of the same thing may differ '
                 'between two recordings; within one they belong together.']
        for family in dict.fromkeys(r['family'] for r in runs):
            own = [r for r in runs if r['family'] == family]
            parts += [f'## {family}', table(own), trainings(own), *(machine(r) for r in own)]
        arms = {path: found for path, found in recorded.items() if 'arms' in found}
        if arms: parts += ['## Arms', 'The same base and budget, one change an arm: other data, or (ablation) one choice of the recipe taken away. '
                           'Shares of right answers with their intervals; '
                           'chance is 25 %. S: facts that the Arabic text holds; H: facts that only the base has read, in English; '
                           'N: facts that no text holds; spoken: free answers that are exactly right; letters: answered by a letter. '
                           'stopped100 is tuned on the corpus of a translator that was stopped after 100 steps.' + earlier(runs, arms.values())]
        for found in arms.values():
            parts += [f'### {found["of"]}: {found["arms"]}', lines_table(arms_lines(found['runs'])), arm_differences(found['comparisons']),
                      arm_translators(found.get('translations', [])),
                      *([machine(dict(size='Measured on', machines=found['machines']))] if 'machines' in found else [])]
        parts += ['## Side by side', 'What was measured besides, by the programs of `bench/` as a rule: against what people would use otherwise, '
                  'and at sizes that no test has.']
        for path, found in recorded.items():
            if found in runs or path in arms: continue
            if {'rows', 'hala', 'load'} <= found.keys(): parts.append(many_rows(found))
            else: parts += [f'### {TITLES.get(path.stem, path.stem)}', *self.bench(path.stem.removeprefix('bench-'), found)]
        parts.append('The same as JSON: ' + ', '.join(f"[{p.name}]({self.link(p.name, p.parent, 'results')})" for p in recorded) + '.')
        self.write('results.md', tight('\n\n'.join(parts)) + '\n')

    def bench(self, name, found):
        "A measurement: what its program says of itself, every figure, and the machine."
        program = root/f'bench/{name}.py'    # what a program writes besides is told by its `what`
        told = ast.get_docstring(ast.parse(program.read_text(encoding='utf-8'))) or '' if program.is_file() else ''
        said = [part if part.startswith('    ') else prose_line(part) for part in told.split('\n\n') if part]    # what is indented is code
        where, what = found.pop('machine', None), found.pop('what', None)
        if what: said.append(prose_line(f'{what[0].upper()}{what[1:]}.'))
        return [*said, *measured(worded(found)), *([machine(dict(size='Measured on', machines=[where]))] if where else [])]

    def texts(self):
        for name, page in TEXTS.items():
            if page.endswith('.md'):
                text = re.sub(r'^</?div.*>$|^<!--.*-->$', '', (root/name).read_text(encoding='utf-8'), flags=re.M)
                self.write(page, self.prose(text, root, page))

    def llms(self):
        "https://llmstxt.org: what there is, each page with a plain copy beside it."
        title, said = headline(self.pages['index'])
        lines = [f'# {title}', '', f'> {said}', '', 'A notebook has a Markdown copy beside its page: text, code and stored text outputs.', '',
                 '- [Overview](index.md)']
        for name, pages in self.sections().items():
            lines += ['', f'## {SECTIONS.get(name, (name.capitalize(),))[0]}', '']
            for page in pages: lines.append(f'- [{headline(self.pages[page])[0]}]({page}.md): {headline(self.pages[page])[1]}')
        lines += ['', '## API', '', *(f'- [{m}](api/{m}.html)' for m in sorted(index['syms'])),
                  '', '## Optional', '', '- [Results](results.html)', '- [Changelog](changelog.html)']
        self.write('llms.txt', '\n'.join(lines) + '\n', self.extra)

    def build(self):
        for page in self.pages: self.notebook(page)
        for part in (self.section_pages, self.api, self.results, self.texts, self.llms): part()


def only_imports(text): return all(re.match(r'(from|import|\s|#|$|\))', line) for line in text.splitlines())


def code(cell, said):
    "A code cell with its outputs; `#|` lines become tags."
    text = re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip('\n')
    tags = [t for t in cell.metadata.get('tags', []) if t == 'parameters']
    if said.keys() & {'export', 'exports', 'exporti'}: tags.append('exported')
    if said.get('echo') == 'false': tags.append('remove-input')
    elif said.get('code-fold') == 'true' or text.count('\n') >= (5 if only_imports(text) else LONG): tags.append('hide-input')
    if said.get('output') == 'false': tags.append('remove-output')
    texts = [''.join(o.get('data', {}).get('text/plain') or o.get('text', '')) for o in cell.get('outputs', [])]
    if any(texts) and not any(map(wide, texts)): tags.append('wrap-output')
    names, length = re.findall(r'^(?:def|class) (\w+)', text, re.M), text.count('\n') + 1
    what = (', '.join(names) if len(names) < 5 else f'{names[0]} to {names[-1]}') or ('imports' if only_imports(text) else 'code')
    what += f' ({length} lines)'
    mystnb = {'code_prompt_show': f'Show {what}', 'code_prompt_hide': f'Hide {what}'}
    if any(kind.startswith('image/') for o in cell.get('outputs', []) for kind in o.get('data', {})):
        if not said.get('fig-alt'): sys.exit(f'a figure without words for who does not see it; give its cell a line "#| fig-alt: …": {text[:60]!r}')
        mystnb['image'] = {'alt': said['fig-alt']}
    metadata = {'tags': tags, 'mystnb': mystnb}
    return nbformat.v4.new_code_cell(text, metadata=metadata, outputs=[nbformat.from_dict(settled(o)) for o in cell.get('outputs', [])])


def aligned(text):
    "Whether letters of a text stand below each other: it has columns."
    return sum(bool(re.search(r'\S {2,}\S', line)) for line in text.splitlines()) > 1


def wide(text):
    "Whether an output has columns that would fall apart on a narrow screen; those of a short table stay."
    return aligned(text) and max(len(line) for line in text.splitlines() if re.search(r'\S {2,}\S', line)) > SHORT


NUMBER = re.compile(r'(< )?[-+−]?\d[\d,]*\.?\d*(e[-+]?\d+)?( %)?( \(.*\))?|nan|yes|no|[·-]|')


def numeric(cells):
    "Whether a column holds figures alone, which stand below each other's ends; words stand below each other's beginnings."
    texts = [' '.join(html.unescape(c).split()) for c in cells]
    return any(re.search(r'\d', t) for t in texts) and all(map(NUMBER.fullmatch, texts))


def settled(output):
    "An output whose pandas tables have one row of heads, and numbers at the end of their columns."
    text = ''.join(output.get('data', {}).get('text/html', ''))
    if 'class="dataframe"' not in text: return output
    page = fragment_fromstring(text, create_parent='div')
    for table in page.iter('table'):
        above, *below = heads = table.xpath('./thead/tr')
        if len(heads) == 2 and len(above) == len(below[0]):    # the second has the names of the row heads; that of all columns together gives way to them
            for a, b in zip(above, below[0], strict=True): a.text = b.text or a.text
            below[0].drop_tree()
        rows = [row.findall('td') for row in table.xpath('./tbody/tr')]
        for column, head in zip(zip(*rows, strict=True), [*above][-len(rows[0]):] if rows else (), strict=True):
            if numeric([td.text_content() for td in column]):
                for found in (head, *column): found.set('class', 'number')
                # where there is no room an interval goes below its figure, in one piece
                for td in column: td.text = re.sub(r' (?!\()', '\u00a0', td.text or '')
    return output | {'data': output['data'] | {'text/html': ''.join(tostring(child, encoding='unicode') for child in page)}}


def plain(nb, link):    # link: from a match of LINK to the link as it holds there
    "A notebook as Markdown: text, code, text outputs, and what a figure shows in words."
    parts = []
    for cell in nb.cells:
        said = directives(cell) if cell.cell_type == 'code' else {}
        if cell.cell_type == 'markdown': parts.append(LINK.sub(link, cell.source))
        elif cell.cell_type == 'code' and not said.keys() & {'default_exp', 'hide'}:
            if said.get('echo') != 'false': parts.append('```python\n' + re.sub(r'^#\|.*\n?', '', cell.source, flags=re.M).strip('\n') + '\n```')
            for o in cell.get('outputs', []):
                data = o.get('data', {})
                text = ''.join(data.get('text/markdown') or data.get('text/plain') or o.get('text', ''))
                if any(kind.startswith('image/') for kind in data): parts.append(f'*Figure: {said["fig-alt"]}.*')
                elif text: parts.append(text if 'text/markdown' in data else f'```text\n{text.rstrip()}\n```')
    return '\n\n'.join(parts) + '\n'


def toctree(lines): return '```{toctree}\n:hidden:\n\n' + '\n'.join(lines) + '\n```\n'


def card(title, said, page): return f':::{{grid-item-card}} {title}\n:link: {page}\n:link-type: doc\n{prose_line(said)}\n:::\n'


def prose_line(text):
    "One line of a comment as Markdown: only what stands between backticks has a meaning."
    return ''.join(t if t.startswith('`') else re.sub(r'([\\*_<>|\[\]$#{}])', r'\\\1', t) for t in re.split(r'(`[^`]+`)', tight(text or '')))


def kind_of(annotation):
    "A type as one writes it."
    if annotation in (inspect.Parameter.empty, None, type(None)): return ''
    annotation = getattr(annotation, '__forward_arg__', annotation)    # of a named tuple
    return f'`{annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None) or annotation}`'


def written(cls):
    "Field -> the comment behind it, of a class that lists its fields; those of the classes it builds on too."
    own = [c for c in reversed(cls.__mro__) if c.__module__.split('.')[0] == 'hala']
    return {m[1]: m[2] for c in own for m in re.finditer(r'^    (\w+) *:[^#\n]*# *(.+)$', inspect.getsource(c), re.M)}


def arguments(obj):
    "Name -> annotation, default, comment and kind of what a function or class is called with, and what it returns."
    if not inspect.isclass(obj): return docments(obj, full=True, returns=True)
    if issubclass(obj, BaseException): return {}    # raised by hala, with a message
    if issubclass(obj, tuple):
        kinds, defaults = inspect.get_annotations(obj), obj._field_defaults
        return {n: {'anno': kinds[n], 'default': defaults.get(n, inspect.Parameter.empty), 'docment': written(obj).get(n)} for n in obj._fields}
    found = docments(obj, full=True, returns=True)
    behind = written(obj) if is_dataclass(obj) else {}
    return {n: said | {'docment': said['docment'] or behind.get(n)} for n, said in found.items()}


def described(obj, full, known, depth=3):    # full: its name in the module; known: all names there
    "A function, class, method or property: signature, docstring, a table of its docments, and what a class can do."
    held, obj = obj, getattr(obj, 'fget', None) or getattr(obj, '__func__', obj)
    is_class = inspect.isclass(obj)
    rows, returned, names, bar = [], '', [], '\\|'
    for name, said in arguments(obj).items():
        if name in ('self', 'cls'): continue
        if name == 'return': returned = ': '.join(t for t in (kind_of(said['anno']), prose_line(said['docment'])) if t)
        else:
            default = said['default']
            short = repr(default) if len(repr(default)) < 40 and not re.search('[|<`]', repr(default)) else '…'
            stars = {inspect.Parameter.VAR_POSITIONAL: '*', inspect.Parameter.VAR_KEYWORD: '**'}.get(said.get('kind'), '')
            names.append(stars + name + ('' if default is inspect.Parameter.empty else f'={short}'))
            rows.append(f'| `{name}` | {kind_of(said["anno"]).replace("|", bar)} | {prose_line(said["docment"])} |')    # a bar ends a cell, in code too
    fence = '`'*(depth + 3)
    what = 'property' if isinstance(held, property) else 'function' if depth == 3 else 'method'
    if is_class: what = 'exception' if issubclass(obj, BaseException) else 'class'
    parts = [f'{fence}{{py:{what}}} {full}' + ('' if what in ('property', 'exception') else f'({", ".join(names)})') + '\n']
    parts.append(prose_line(' '.join((inspect.getdoc(obj) or '').split())) if not (is_class and (obj.__doc__ or '').startswith(f'{obj.__name__}(')) else '')
    if rows: parts.append('| argument | type | what |\n|---|---|---|\n' + '\n'.join(rows))
    if returned: parts.append(f'**{"Type" if what == "property" else "Returns"}** {returned}')
    if is_class:
        for method in known:
            owner, _, name = method.rpartition('.')
            if owner == full and name in vars(obj) and not name.startswith('_'): parts.append(described(vars(obj)[name], method, known, depth - 1))
    return '\n\n'.join(p for p in parts if p) + f'\n{fence}'


def share(name, value):
    "How long a figure's bar is, in per cent; None where it has no end to measure against."
    return 100*value if name.endswith(SHARES) else value if name.endswith('chrf') else None


KEPT = {'hala': 'each batch: its answers are in a log that was flushed to the disk', 'datasets': 'nothing before the end (map, then to_parquet)',
        'datatrove': 'each document, in the checkpoint of its chunk; not flushed (CheckpointManager, ParquetWriter)'}


def many_rows(r):
    "What bench/scale.py wrote: hala beside other ways to write the same rows, and how it goes on after kills."
    lines = ['| | rows/s | computing, s | memory, GiB | load | what a kill leaves |', '|---|---:|---:|---:|---:|---|']
    for name, kept in KEPT.items():
        if not (p := r.get(name)): continue
        computing = f'{p["cpu_seconds"]:.0f}' if 'cpu_seconds' in p else '·'
        load = r['load']['unbroken' if name == 'hala' else name]
        lines.append(f'| {name} | {p["rows_per_second"]:,.0f} | {computing} | {p["peak_gib"]:.2f} | {load:.0f} | {kept} |')
    said = [f'`hala status` takes {r["hala"]["status_seconds"]:.1f} s.']
    for k in r['hala'].get('kills', []):
        own = f', {k["cpu_seconds_until_it_goes_on"]:.1f} s of them computing' if 'cpu_seconds_until_it_goes_on' in k else ''
        said.append(f'Killed at {100*k["killed_at"]:.0f} % of the work it goes on after {k["seconds_until_it_goes_on"]:.1f} s{own}; '
                    f'`hala status` takes {k["status_seconds"]:.1f} s then.')
    if 'asked_twice' in r['hala']: said.append(f'Rows asked twice after all that: {r["hala"]["asked_twice"]}.')
    about = (f'Stage 04 (`make scale`) with an engine that answers at once. Where the load is above the {r["machine"]["cores"]} cores of the machine, '
             'other work shared them: what is said by the clock is too much then, the computing is not.')
    return '\n\n'.join([f'### {r["rows"]:,} chats', about, '\n'.join(lines), ' '.join(said), *([r['note'].capitalize()+'.'] if 'note' in r else [])])


TASKS = dict(seen='S', unseen='H', nowhere='N')
ALSO = {'seconds': 'work in the stages, one after the other'}    # figures beside those that `hala run` explains


def table(runs):
    "Figures of one family, its sizes side by side."
    numbers = [k for r in runs for k, v in r.items() if isinstance(v, (int, float)) and not isinstance(v, bool)]
    names = [*(k for k in MEANING if k in numbers), *(k for k in dict.fromkeys(numbers) if k not in MEANING)]
    def cell(run, name):
        if not isinstance(value := run.get(name), (int, float)): return '<td class="value">·</td>'
        length = share(name, value)
        bar = '' if length is None else f' style="--share:{length:.1f}%"'
        return f'<td class="value{" chance" if name.endswith("_acc") else ""}"{bar}>{figure(name, value, run.get("intervals", {}).get(name))}</td>'
    rows = [f'<tr><td>{html.escape(MEANING.get(n, ALSO.get(n, "")))}<br><code>{n}</code></td>' + ''.join(cell(r, n) for r in runs) + '</tr>' for n in names]
    head = '<thead><tr><th></th>' + ''.join(f'<th class="value">{r["size"]}</th>' for r in runs) + '</tr></thead>'
    return f'<div class="results-scroll"><table class="table results">{head}<tbody>' + ''.join(rows) + '</tbody></table></div>'


def trainings(runs):
    "How fast the models of recorded runs were trained; the stage as a whole, with reading, checkpoints and validation."
    sizes = {}    # what a family shares is trained once
    for r in runs:
        for name, m in r.get('trained', {}).items(): sizes.setdefault((name, m['tokens'], m['seconds']), []).append(r['size'])
    rows = [[', '.join(of), name, f'{tokens:,}', f'{seconds:,.0f}', f'{tokens/seconds:,.0f}'] for (name, tokens, seconds), of in sizes.items()]
    return lines_table([['run', 'trained', 'tokens', 'seconds', 'tokens a second'], *rows]) if rows else ''


def lines_table(lines, what=''):    # what: its rows are, where they are many and folded; else its heads say it
    "Lists of text, the first is the head, as a table that scrolls in its frame."
    what = what or 'rows: ' + html.escape(', '.join(x for x in lines[0] if x))
    head, *rows = [[html.escape(str(x)) if len(str(x)) > 30 else html.escape(str(x)).replace(' ', '\u00a0') for x in line] for line in lines]
    if many := len(head) > 6: head, *rows = [[re.sub('(?<=,)\u00a0|\u00a0(?=\\()', ' ', x) for x in line] for line in (head, *rows)]    # intervals go below
    if many: head = [x.replace('\u00a0', ' ') for x in head]
    marks = [' class="value"' if n and numeric(column) else '' for n, column in enumerate(zip(*rows, strict=True))]
    def line(cells, name): return f'<tr>{"".join(f"<{name}{mark}>{x}</{name}>" for x, mark in zip(cells, marks, strict=True))}</tr>'
    body, top = ''.join(line(row, 'td') for row in rows), f'<thead>{line(head, "th")}</thead>' if any(head) else ''
    found = f'<div class="results-scroll"><table class="table results{" many" if many else ""}">{top}<tbody>{body}</tbody></table></div>'
    return found if len(rows) <= LONG else f'<details><summary>{len(rows)} {what}</summary>{found}</details>'


def holm(c):
    "The p of a comparison, corrected for the length of its table."
    return f"{c['p_holm']:.2g}" if c['p_holm'] >= .001 else '< 0.001'


def earlier(runs, arms):
    "What is to be known of arms that were recorded with another product than that of the runs."
    now = {f'{r["family"]} {r["size"]}': r for r in runs}
    then = {of: main['S']['value'] for a in arms for main in a['runs'] if main['arm'] == 'main' and (of := a['of']) in now}
    told = [f'{100*share:.1f} % of the questions on S in {of}, not {100*now[of]["tuned_ar_acc"]:.1f} %' for of, share in then.items()
            if abs(share - now[of]['tuned_ar_acc']) > 1e-4]
    if not told: return ''
    before = (' Arms were recorded before the runs above ([changelog](changelog.md)), with an earlier state of the code, and on another processor where the '
              'lines below the tables say so: there training goes another way from its first steps, that of the bases too')
    return f'{before}. Main, of the first seed, had {"; ".join(told)}.'


def arm_translators(found):
    "The translator behind each arm against that of the product of its seed, where they are two."
    lines = [[c['arm'], c['against'], f"{c['delta']:+.1f} ({c['low']:+.1f} to {c['high']:+.1f})", holm(c), c['mark']] for c in found]
    return lines_table([['arm', 'against', 'its translator, chrF++', 'p (bootstrap, Holm)', ''], *lines]) if lines else ''


def arm_differences(found):
    "Each arm against the product of its seed; p and the mark are corrected for the length of the table."
    lines = [[c['arm'], c['against'], TASKS[c['task']], f"{100*c['delta']:+.1f} ({100*c['low']:+.0f} to {100*c['high']:+.0f})", holm(c), c['mark']]
             for c in found]
    head = ['arm', 'against', 'facts', 'difference, points', 'p (McNemar, Holm)', '']
    return lines_table([head, *lines], 'comparisons with the product of the same seed') if lines else ''


def said(value):
    "One figure as text, with its interval where it has one."
    if isinstance(value, dict): return f'{said(value["value"])} ({said(value["low"])} to {said(value["high"])})'
    if isinstance(value, bool): return 'yes' if value else 'no'
    if isinstance(value, float) and 0 < abs(value) < 1e-9: return '0.0000'    # rounding of the last digits
    if isinstance(value, float) and abs(value) >= 1000: return f'{value:,.0f}'
    if isinstance(value, float): return f'{value:#.4g}' if abs(value) >= 10 else f'{value:.4g}'
    return '·' if value is None else f'{value:,}' if isinstance(value, int) else str(value)


LABELS = {    # what a program of bench/ writes -> as one reads it; others have their own name, without its underscores
    'mb_per_s': 'MB/s', 'rows_per_s': 'rows/s', 'docs_per_s': 'documents/s', 'mwords_per_s': 'million words/s', 'tokens_per_s': 'tokens/s',
    're': "Python's re", 'ratio': 'ratio of the two', 'same_masks': 'texts with the same spans', 'caught_all': 'caught, all kinds together',
    'clean_rejected': 'right rows rejected', 'clean_rejected_by': 'right rows rejected by it', 'duplicates_usual': 'duplicates, found the usual way',
    'found_usual': 'found the usual way', 'a': 'FP8', 'b': 'float', 'delta': 'difference', 'low': 'difference at least', 'met': 'within the margin',
    'passed': 'teachers that passed', 'right': 'right pairs', 'check': 'best check', 'check_area': 'its area', 'hard': 'hard kind',
    'turns': 'measurements of each', 'words': 'words a sentence', 'characters': 'characters a sentence', 'hala_seconds': 'hala, seconds',
    'sacrebleu_seconds': 'sacrebleu, seconds', 'hala_cpu_seconds': 'hala, seconds of the processor',
    'sacrebleu_cpu_seconds': 'sacrebleu, seconds of the processor', 'times_faster_cpu': 'times faster, by the processor',
    'counting_seconds': 'of hala: counting, seconds', 'resampling_seconds': 'of hala: resampling, seconds', 'same_counts': 'equal counts',
    'score_difference': 'largest difference of a score', 'delta_difference': 'largest difference of a resampled delta', 'p_sacrebleu': 'p of sacrebleu',
    'p_sacrebleu_here': "p by sacrebleu's rule, here", 'p': 'p (two-sided)', 'hala_translate': 'hala translate', 'engine': 'the bare engine',
    'train': 'training, tokens/s', 'generate': 'generating, tokens/s', 'by_reference_off_percent': 'by reference, off by (per cent)',
    'calibrated_off_percent': 'calibrated, off by (per cent)', 'kept_without_spans': 'kept, sentences without spans',
    'chrf_around': 'chrF++ of the text around',
    'chrf_same_rows_without': 'chrF++ of the same sentences alone'}
SHARED = {'same_masks', 'caught', 'caught_all', 'clean_rejected', 'exact', 'kept', 'kept_without_spans', 'intact'}    # shares, read as per cent
TITLES = {    # file of docs/results -> its heading
    'bench-text': 'Spans, checks, duplicates and contamination', 'engines': 'vLLM beside transformers', 'fp8': 'FP8 over several teachers',
    'judge': 'Judges and checks on errors that were planted', 'metrics': 'The paired bootstrap beside that of sacrebleu', 'plan': 'A plan beside its run',
    'plan-reference': 'The run that plans start from', 'teacher': 'The teacher beside its translator',
    'translator': 'Spans in a translation, and what hala translate costs'}
WIDE = 8    # things side by side on a desk; more stand below each other
VERSIONS = {'python', 'numpy', 'sacrebleu', 'threads'}    # they stand in the file, for who measures again


def percent(found):
    "Shares as one reads them."
    return {k: percent(v) for k, v in found.items()} if isinstance(found, dict) else f'{100*found:.4g} %'


def worded(found):
    "A measurement under names that one reads, an interval beside its difference, without what only its repetition needs."
    if isinstance(found, list): return list(map(worded, found))
    if not isinstance(found, dict) or single(found): return found
    if {'delta', 'low', 'high'} <= found.keys():
        ends = {k: found[k] for k in ('low', 'high')}
        found = {k: v if k != 'delta' else {'value': v, **ends} for k, v in found.items() if k not in ends}
    return {LABELS.get(k, k).replace('_', ' '): percent(v) if k in SHARED else worded(v) for k, v in found.items() if k not in VERSIONS}


def single(value): return not isinstance(value, (dict, list)) or (isinstance(value, dict) and {'value', 'low', 'high'} <= value.keys())


def leaves(found):
    "Every single figure below, by its whole name."
    for k, v in found.items():
        if isinstance(v, dict) and not single(v): yield from ((f'{name}, {k}', x) for name, x in leaves(v))
        else: yield k, v


def flat(found):
    "A few figures that stand partly one floor lower, as one table; more stay as they are."
    below = dict(leaves(found))
    few = len(below) <= 8 and any(map(single, found.values())) and all(map(single, below.values()))
    return below if few else found


def measured(found, title=''):
    "A measurement as tables: single figures in one; what has the same parts side by side, its longer way down; the rest one after the other."
    inner = {k: v for k, v in found.items() if not single(v) and v}
    alone = [[k, said(v)] for k, v in found.items() if single(v)]
    parts = [f'**{html.escape(title)}**'] if title and alone else []
    if alone: parts.append(lines_table([['', ''], *alone]))
    for name, value in inner.items():
        if isinstance(value, list) and all(map(single, value)): parts.append(lines_table([['', ''], [name, ', '.join(map(said, value))]]))
        elif isinstance(value, list): parts += side_by_side(dict(map(titled, value)), name)
    tables = {k: flat(v) for k, v in inner.items() if isinstance(v, dict)}
    alike = len(tables) > 1 and set.intersection(*(set(v) for v in tables.values())) and all(map(single, (x for v in tables.values() for x in v.values())))
    if alike: return parts + side_by_side(tables, '' if alone else title)
    return parts + [block for k, v in tables.items() for block in measured(v, f'{title} · {k}' if title else k)]


def titled(found):
    "One of several measurements: what its first figure says, and the others."
    (name, first), *others = found.items()
    return first if isinstance(first, str) else f'{name}: {first}', flat(dict(others))


def side_by_side(tables, title):
    "Things measured in the same way, as one table."
    if not all(map(single, (x for v in tables.values() for x in v.values()))):
        return [block for k, v in tables.items() for block in measured(v, f'{title} · {k}' if title else k)]
    keys = list(dict.fromkeys(k for v in tables.values() for k in v))
    lines = [['', *tables], *([k, *(said(v.get(k)) for v in tables.values())] for k in keys)]
    if len(keys) < len(tables) or max(map(len, tables)) > 30 or len(tables) > WIDE: lines = [list(line) for line in zip(*lines, strict=True)]
    return [*([f'**{html.escape(title)}**'] if title else []), lines_table(lines)]


def machine(run):
    "On what something was recorded. What was recorded before the vector instructions were noted says so: its figures need not be those of another recording."
    where = '; '.join(f'{m["cpu"]}, {m.get("simd") or "vector instructions not noted"}, {m["cores"]} cores, {m["memory_gib"]} GiB'
                      + ''.join(f', {g}' for g in m.get('gpus', [])) for m in run.get('machines', []))
    return f'*{run["size"]}: {where}.*'


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--out', type=Path, default=root/'docs/_build', help='holds html/ afterwards')
    out = parser.parse_args().out.resolve()
    Site(out).build()
    os.environ['HALA_SITE'] = str(out)
    sys.exit(sphinx(['-q', '-W', '--keep-going', '-n', '-E', '-b', 'html', '-d', str(out/'doctrees'), '-c', str(root/'docs'), str(out/'src'), str(out/'html')]))


if __name__ == '__main__': main()
