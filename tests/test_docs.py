"The site as a reader has it: every link, what a browser says of it, and Arabic right to left."
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from conftest import ROOT

pytest.importorskip('sphinx', reason='the site is not built here: pip install -e .[docs]')
from lxml import html

sys.path.insert(0, str(ROOT/'docs'))
import browser

needs_chromium = pytest.mark.skipif(not browser.CHROMIUM, reason='no Chromium here: apt-get install chromium')
ARABIC = r'[\u0621-\u064a\u0671-\u06d3]'
# text nodes with Arabic letters whose element does not run from right to left, and Arabic that is set in another font
WRONG = f'''(() => {{
    const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; node = walk.nextNode();) if (/{ARABIC}/.test(node.data) && !node.parentElement.closest('script, style, svg')) {{
        const style = getComputedStyle(node.parentElement);
        if (style.direction !== 'rtl' || !style.fontFamily.includes('Plex Arabic')) found.push(node.data.trim().slice(0, 60));
    }}
    return found;
}})()'''


# words of running text that end beyond the edge, where the page does not scroll
CUT = '''[...document.querySelectorAll('article :is(p, li) code, article :is(h1, h2, h3)')]
    .filter(e => e.getClientRects().length && !e.closest('table') && e.getBoundingClientRect().right > innerWidth + 1)
    .concat([...document.querySelectorAll('article :is(h1, h2, h3), .prev-next-area a')].filter(e => e.scrollWidth > e.clientWidth + 1))
    .concat([...document.querySelectorAll('table.indextable td a')].filter(a => {
        const cell = a.closest('td').getBoundingClientRect(), box = a.getBoundingClientRect(); return box.right > cell.right + 1 || box.right > innerWidth + 1;
    })).map(e => e.textContent.trim().slice(0, 60))'''


@pytest.fixture(scope='session')
def site(tmp_path_factory):
    "The site, built as `make docs` builds it: warnings are errors."
    out = tmp_path_factory.mktemp('site')
    done = subprocess.run([sys.executable, str(ROOT/'docs/pages.py'), '--out', str(out)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])})
    assert done.returncode == 0, done.stdout + done.stderr
    return out/'html'


@pytest.fixture(scope='session')
def pages(site):
    "Path -> parsed page."
    return {p: html.parse(str(p), html.HTMLParser(encoding='utf-8')).getroot() for p in sorted(site.rglob('*.html'))}


@pytest.fixture(scope='session')
def visited(site, pages):
    "Every page in two widths: page -> what the browser says of it. Opened once as a telephone does, then given the room of a desk."
    if not browser.CHROMIUM: pytest.skip('no Chromium here: apt-get install chromium')
    seen = {}
    with browser.served(site) as address, browser.Browser() as b:
        for page in pages:
            name, said = page.relative_to(site).as_posix(), {}
            b.size(390)
            b.open(f'{address}/{name}')
            for width in (390, 1280):
                b.size(width)
                said[width], said['cut', width] = b.evaluate('document.scrollingElement.scrollWidth'), b.evaluate(CUT)
                said['errors', width], said['outside', width] = b.errors(), b.outside()
            said['wrong'] = b.evaluate(WRONG)
            seen[name] = said
    return seen


def test_a_page_for_each_notebook(site):
    for notebook in (ROOT/'nbs').rglob('*.ipynb'):
        if any(part.startswith(('.', '_')) for part in notebook.relative_to(ROOT/'nbs').parts): continue
        page = site/notebook.relative_to(ROOT/'nbs').with_suffix('.html')
        assert page.exists(), f'{notebook.name} has no page'
        assert page.with_suffix('.md').exists(), f'{notebook.name} has no plain copy for llms.txt'


def test_every_link_and_anchor(site, pages):
    broken, anchors = [], {p: {*root.xpath('//@id'), *root.xpath('//a/@name')} for p, root in pages.items()}
    for page, root in pages.items():
        for attribute in root.xpath('//a/@href | //link/@href | //img/@src | //script/@src'):
            target, anchor = urldefrag(unquote(str(attribute)))
            if re.match('[a-z]+:', target): continue
            there = (page.parent/target.partition('?')[0]).resolve() if target else page
            if not there.is_file(): broken.append(f'{page.relative_to(site)} -> {attribute}')
            elif anchor and there in anchors and anchor not in anchors[there]: broken.append(f'{page.relative_to(site)} -> {attribute}: no such anchor')
    assert not broken


def test_every_link_of_the_markdown_copies(site):
    "What llms.txt leads to leads on: to copies of notebooks, to pages, to files."
    copies = [p for p in site.rglob('*.md') if p.relative_to(site).parts[0] != 'source']    # source/ holds the repository's own
    texts = [(p, re.sub(r'^```.*?^```', '', p.read_text(encoding='utf-8'), flags=re.M | re.S)) for p in copies]
    links = [(p, link) for p, text in texts for link in re.findall(r'\]\((?![a-z]+:|#)([^)\s]+)\)', text)]
    assert len(links) > 50 and not [(p.name, link) for p, link in links if link.partition('#')[0].endswith('.ipynb')]
    assert not [(p.relative_to(site).as_posix(), link) for p, link in links if not (p.parent/link.partition('#')[0]).is_file()]


def test_every_figure_has_words(site, pages):
    wordless = {(page.relative_to(site).as_posix(), said) for page, root in pages.items() for image in root.xpath("//img[not(contains(@class, 'toggler'))]")
                if ' ' not in (said := image.get('alt') or '') or re.search(r'[/\\]|\.(svg|png)\b', said)}
    assert not wordless
    notebook = json.loads((ROOT/'nbs/06_merge.ipynb').read_text(encoding='utf-8'))
    figures = sum('image/svg+xml' in o.get('data', {}) for cell in notebook['cells'] for o in cell.get('outputs', []))
    assert figures == len(pages[site/'06_merge.html'].xpath('//article//img')) > 0


def test_nothing_is_fetched_from_elsewhere(site, pages):
    for page, root in pages.items():
        asked = root.xpath('//img/@src | //script/@src | //iframe/@src | //source/@src | //link[not(@rel="canonical")]/@href')
        assert not [u for u in asked if re.match('(https?:)?//', u)], page
    for sheet in site.rglob('*.css'):
        assert not re.search(r'url\(["\']?(https?:)?//', sheet.read_text(encoding='utf-8')), sheet


def test_no_path_of_the_machine(site):
    for page in [*site.rglob('*.html'), *site.rglob('*.md'), *site.rglob('llms.txt')]:
        for folder in (str(ROOT), str(Path.home()) + '/', str(site)): assert folder not in page.read_text(encoding='utf-8'), page


def test_llms_txt(site):
    text = (site/'llms.txt').read_text(encoding='utf-8')
    assert text.startswith('# hala')
    for target in re.findall(r'\]\(([^)]+)\)', text): assert (site/target).is_file(), target


def test_api_has_the_docments(pages, site):
    text = pages[site/'api/hala.merge.html'].text_content()
    assert 'angle between them, radians' in text, 'what arc returns, from its docment'
    assert pages[site/'api/hala.merge.html'].xpath('//*[@id="hala.merge.arc"]')


def test_api_lists_what_a_class_is_made_of(pages, site):
    "Fields of named tuples with their comments, those that a recipe inherits too; exceptions and properties are not called; types as one writes them."
    def text(module): return ' '.join(pages[site/f'api/hala.{module}.html'].text_content().split())
    def signature(module, name):
        (found,) = pages[site/f'api/hala.{module}.html'].xpath(f'//dt[@id="hala.{module}.{name}"]')
        return ''.join(found.text_content().split()).rstrip('#')
    kinds = '//dl[@class="py class" or @class="py exception"]/dt'
    classes = [c.text_content() for p, page in pages.items() if p.parent.name == 'api' for c in page.xpath(kinds)]
    assert len(classes) > 40 and not [c for c in classes if '*args' in c]
    assert signature('core.text', 'Piece') == 'classhala.core.text.Piece(before,body,after,spans=())'
    assert 'what the marks in the body stand for' in text('core.text')
    assert text('core.recipe').count('passes over the training rows') == 3, 'Training, Translator, Sft'
    assert signature('core.store', 'Held') == 'exceptionhala.core.store.Held'
    assert signature('core.metrics', 'NonInferiority.met') == 'propertymet'
    assert not [p.name for p, page in pages.items() if p.parent.name == 'api' and re.search(r'\w \\\||ForwardRef', page.text_content())]


def test_long_code_is_folded_and_short_code_is_not(pages, site):
    for page, root in pages.items():
        for cell in root.xpath('//div[contains(@class, "cell_input")]'):
            length = cell.text_content().strip('\n').count('\n') + 1
            folded = bool(cell.xpath('ancestor-or-self::details')) or bool(cell.xpath('.//details'))
            if length > 24: assert folded, f'{page.relative_to(site)}: {length} lines that are not folded'
            if length < 15 and 'import' not in cell.text_content(): assert not folded, f'{page.relative_to(site)}: {length} lines that are folded'


def test_results_are_those_recorded(pages, site):
    text = pages[site/'results.html'].text_content().replace('\xa0', ' ') # short cells do not break
    run = json.loads((ROOT/'docs/results/tiny-1M.json').read_text(encoding='utf-8'))
    assert f'{run["translator_chrf"]:.1f}' in text
    for path in (ROOT/'docs/results').glob('*.json'):
        if path.name.startswith('arms-probe-'):    # eight questions asked of the tests' own models
            assert path.name not in text
            continue
        assert path.name in text and (path.stem in text or path.stem.startswith(('tiny-', 'scale'))), path.name
    judge = json.loads((ROOT/'docs/results/judge.json').read_text(encoding='utf-8'))
    for kind, found in judge['kinds'].items(): assert kind in text and f'{found["check_area"]:.4g}' in text and f'{found["embed"]:.4g}' in text


def test_measurements_are_told_in_words(pages, site):
    "No key of a JSON file, no library's version and no rounding of the last digit."
    root = pages[site/'results.html']
    cells = [c.text_content().replace('\xa0', ' ') for c in root.xpath('//table[contains(@class, "results")]//*[self::td or self::th]')]
    assert not [c for c in cells if re.search(r'\d[eE]-\d', c)]
    assert not {'numpy', 'python', 'sacrebleu', 'threads', 'mb per s re', 'mb per s hala', 'delta', 'a', 'b'} & set(cells)
    assert {'hala, MB/s', "Python's re, MB/s", 'within the margin', 'best check'} <= set(cells)
    teacher = json.loads((ROOT/'docs/results/teacher.json').read_text(encoding='utf-8'))['sets'][0]
    assert f'{teacher["delta"]:.4g} ({teacher["low"]:.4g} to {teacher["high"]:.4g})' in cells, 'an interval stands beside its figure'


def test_the_results_page_reads_by_itself(pages, site):
    "Headings in words, shares as per cent, figures with their unit and no full stop, folded tables that say what they hold, arms of another recording."
    root = pages[site/'results.html']
    text = root.text_content().replace('\xa0', ' ')
    cells = [c.text_content().replace('\xa0', ' ') for c in root.xpath('//table[contains(@class, "results")]//td')]
    assert not [c for c in cells if re.fullmatch(r'[\d,]+\.', c)]
    assert {'training, tokens/s', 'generating, tokens/s'} <= set(cells) and not {'train', 'generate'} & set(cells)
    assert cells[cells.index('caught, all kinds together') + 1].endswith('%') and cells[cells.index('texts with the same spans') + 1].endswith('%')
    heads = [h.text_content().rstrip('#') for h in root.xpath('//h3')]
    assert not {p.stem for p in (ROOT/'docs/results').glob('*.json')} & set(heads)
    assert text.count('Was the plan right?') == 1
    folded = [s.text_content() for s in root.xpath('//summary')]
    assert folded and not [s for s in folded if re.fullmatch(r'\d+ rows', s)]
    arms, run = (json.loads((ROOT/f'docs/results/{name}.json').read_text(encoding='utf-8')) for name in ('arms-tiny-1M', 'tiny-1M'))
    main = next(r for r in arms['runs'] if r['arm'] == 'main')['S']['value']
    assert ('Arms were recorded before' in text) == (abs(main - run['tuned_ar_acc']) > 1e-4)


def test_numbers_end_and_words_begin_below_each_other(pages, site):
    for page, root in pages.items():
        for table in root.xpath('//table[contains(@class, "results") or contains(@class, "dataframe")]'):
            assert len(table.xpath('./thead/tr')) < 2, f'{page.name}: two rows of heads'
            for cell in table.xpath('./tbody/tr/td[@class and (contains(@class, "value") or contains(@class, "number"))]'):
                assert re.fullmatch(r'[-+−·]|nan|yes|no|(<[ \u00a0])?[-+−]?\d.*|', cell.text_content().strip()), f'{page.name}: {cell.text_content()!r}'
    from pages import numeric
    assert numeric(['-54.4 (-61 to -48)', '< 0.001', '&lt;\u00a00.001', '']) and not numeric(['1', 'chrF++']) and not numeric(['yes', 'no'])
    head = pages[site/'00_sources.html'].xpath('//table[contains(@class, "dataframe")]/thead/tr')
    assert [[c.text_content() for c in row] for row in head] == [['text', 'rows', 'train', 'English words', 'Arabic words']]
    assert all(c.get('class') == 'number' for c in head[0][1:]), 'a head stands above its numbers'


def test_a_sign_stays_beside_its_number(pages, site):
    from readme import tight
    assert tight('chance 25 %, `5 % 3`\n```\n7 % 2\n```') == 'chance 25\u00a0%, `5 % 3`\n```\n7 % 2\n```'
    for name in ('index', 'results', 'ar'):
        loose = [t for t in pages[site/f'{name}.html'].xpath('//article//text()[not(ancestor::pre)]') if re.search(r'\d [%٪]', t)]
        assert not loose, name
        table = pages[site/f'{name}.html'].xpath('//table//td')
        assert not [c for c in table if re.search(r'\([\d.]+ (to|إلى) [\d.]+\)', c.text_content())], name


def test_the_release_tells_sizes_and_hours(pages, site):
    text = pages[site/'08_release.html'].text_content()
    run = json.loads((ROOT/'docs/results/tiny-1M.json').read_text(encoding='utf-8'))
    assert re.search(r'tiny-1M +[\d,]+ parameters', text) and re.search(rf'all stages +{run["seconds"]/3600:.3f} hours', text)


def test_font_and_its_licence(site):
    assert (site/'_static/fonts/IBMPlexSansArabic-Regular.ttf').stat().st_size > 50_000
    assert 'SIL OPEN FONT LICENSE' in (site/'_static/fonts/LICENSE').read_text(encoding='utf-8').upper()


def test_arabic_is_marked():
    from arabic import mark
    marked = html.document_fromstring(mark('<body><p>The word «مترجم خفيف» means light.</p><p>هذا نص عربي مع hala</p><pre>print("سؤال", "جواب")</pre></body>'))
    english, arabic = marked.xpath('//p')
    assert english.get('dir') is None and [s.text for s in english.xpath('span[@dir="rtl"]')] == ['مترجم خفيف']
    assert english.text_content() == 'The word «مترجم خفيف» means light.', 'no letter is lost or moved'
    assert arabic.get('dir') == 'rtl'
    assert [s.text for s in marked.xpath('//pre/span')] == ['سؤال', 'جواب'], 'each string of code by itself, so that their order stays'


def test_a_string_of_code_runs_from_right_to_left_as_a_whole():
    from arabic import mark
    tokens = '<span class="s1">&#39;ما عملة </span><span class="si">{a}</span><span class="s1">؟&#39;</span>'
    english = '<span class="s1">&#39;What is this?&#39;</span>'
    marked = html.document_fromstring(mark(f'<body><pre>({english}, {tokens}, 1)</pre></body>'))
    assert [s.text_content() for s in marked.xpath('//pre/span[@dir="rtl"]')] == ["'ما عملة {a}؟'"]
    assert marked.xpath('//pre')[0].text_content() == "('What is this?', 'ما عملة {a}؟', 1)", 'what is copied is the code'


def test_a_full_stop_belongs_to_the_sentence_it_ends():
    "Behind an Arabic word in an English sentence it stands outside; in an output each line is a sentence of its own, and a question mark is Arabic."
    from arabic import mark
    marked = html.document_fromstring(mark('<body><p>The key says ت. Another says ما هذا؟ too</p><pre>en\nتعمل أختي.\n</pre></body>'))
    assert [s.text for s in marked.xpath('//span')] == ['ت', 'ما هذا؟', 'تعمل أختي.']


def test_no_code_begins_with_a_typographic_dash(pages):
    "An option that was copied from the page is one."
    assert not {(page.name, t[:40]) for page, root in pages.items() for code in root.xpath('//code') if (t := code.text_content()).startswith(('–', '—'))}
    assert any(c.text_content().startswith('--processes') for p, root in pages.items() if p.name == 'ar.html' for c in root.xpath('//code'))


def test_each_recording_tells_its_vector_instructions(pages, site):
    from pages import machine
    old = dict(cpu='x', cores=2, memory_gib=24)
    assert 'vector instructions not noted' in machine(dict(size='a', machines=[old])) and 'AVX2' in machine(dict(size='a', machines=[old | dict(simd='AVX2')]))
    text, recorded = pages[site/'results.html'].text_content(), [json.loads(p.read_text(encoding='utf-8')) for p in (ROOT/'docs/results').glob('*.json')]
    for r in recorded:
        for m in r.get('machines', []): assert (m.get('simd') or 'vector instructions not noted') in text


def test_code_within_an_arabic_string_runs_from_left_to_right():
    "An f-string goes on behind its placeholders; its letter stands outside; placeholders, escapes and JSON are read as code is."
    from arabic import mark
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer
    code = """print(arabic=f'مدينة {n}', head=f'السياق:\\n{row["Context"]} ثم {x + 1:,}', json='{"id": "eg", "question": "ما عملة مصر؟"}', en=f'a {x}')"""
    marked = html.document_fromstring(mark(f'<body>{highlight(code, PythonLexer(), HtmlFormatter())}</body>'))
    assert marked.xpath('//pre')[0].text_content().strip() == code, 'what is copied is the code'
    strings = marked.xpath('//pre/span[@dir="rtl"]')
    assert [s.text_content() for s in strings] == ["'مدينة {n}'", """'السياق:\\n{row["Context"]} ثم {x + 1:,}'"""]
    assert [[c.text_content() for c in s.xpath('.//span[@dir="ltr"]')] for s in strings] == [['{n}'], ['\\n{row["Context"]}', '{x + 1:,}']]
    assert [s.get('dir') for s in marked.xpath('//pre/span[starts-with(., "\'{")]')] == [None], 'JSON'


def test_code_in_arabic_runs_from_right_to_left_as_a_whole():
    "Sphinx puts each word of inline code into a span of its own."
    from arabic import mark
    code = '<code><span class="pre">جنيه</span> <span class="pre">مصري</span></code>'
    marked = html.document_fromstring(mark(f'<body><p>The pound, {code}, of Egypt.</p><p>هذا {code} هنا</p><p><code>a b</code> عربي</p></body>'))
    assert [c.get('dir') for c in marked.xpath('//code')] == ['rtl', 'rtl', 'ltr']


@needs_chromium
def test_words_stand_in_the_order_in_which_they_are_read(site, pages):
    "Neighbours in what the reader sees: a term in Arabic code, a name and the bracket behind it, what closes a bracket."
    with browser.served(site) as address, browser.Browser() as b:
        b.size(1280)
        def left(where, text):
            return b.evaluate(f"""(() => {{
                const root = {where}, walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
                for (let node; node = walk.nextNode();) {{
                    const at = node.data.indexOf({json.dumps(text)}); if (at < 0) continue;
                    const range = document.createRange(); range.setStart(node, at); range.setEnd(node, at + {len(text)});
                    return range.getClientRects()[0].left;
                }} }})()""")
        b.open(f'{address}/core/world.html')
        code = "[...document.querySelectorAll('article code')].find(c => !c.closest('pre') && /^[\u0621-\u064a]+ [\u0621-\u064a]+$/.test(c.textContent))"
        first, second = b.evaluate(f'({code}).textContent').split()
        assert left(code, first) > left(code, second), 'the first word of Arabic code stands on the right'
        b.open(f'{address}/ar.html')
        row = "[...document.querySelectorAll('article td')].find(c => c.textContent.includes('FP8') && c.textContent.includes('chrF++'))"
        assert left(row, 'FP8') > left(row, 'chrF'), 'the name comes before the bracket'
        found = b.evaluate(f"""[...document.querySelectorAll('article :is(td, p)')].filter(e => e.textContent.includes('chrF++'))
            .map(e => ({browser.ORDER})(e, 'chrF++'))""")
        assert set(found) == {'chrF++'} and len(found) > 4
        sign = """(() => { const link = [...document.querySelectorAll('article a.download')].find(a => a.textContent == 'Apache-2.0');
            const range = document.createRange(); range.selectNodeContents(link.nextSibling); range.setEnd(link.nextSibling, 1);
            return link.querySelector('span').getBoundingClientRect().left - range.getClientRects()[0].right })()"""
        assert abs(b.evaluate(sign)) < 2, 'nothing stands between the link and the full stop'


@needs_chromium
def test_a_figure_is_seen_whole_on_a_telephone(site, pages):
    "No panel and no legend waits beyond the edge, and letters keep four fifths of their size."
    with browser.served(site) as address, browser.Browser() as b:
        b.size(390)
        seen = {}
        for page, root in pages.items():
            if not root.xpath('//div[contains(@class, "cell_output")]//img'): continue
            name = page.relative_to(site).as_posix()
            b.open(f'{address}/{name}')
            seen[name] = b.evaluate("""[...document.querySelectorAll('div.cell_output img')].map(i => {
                const box = i.getBoundingClientRect(), frame = i.closest('div.cell_output');
                return [box.left, box.right, box.width/i.naturalWidth, frame.scrollWidth - frame.clientWidth]; })""")
        assert len(seen) > 8 and not {n: boxes for n, boxes in seen.items() if any(left < 0 or right > 390 or more > 1 for left, right, _, more in boxes)}
        assert not {n: boxes for n, boxes in seen.items() if any(scale <= .8 for _, _, scale, _ in boxes)}
        b.open(f'{address}/index.html')
        assert b.evaluate("""document.querySelector('article img[src$="pipeline.svg"]').clientWidth""") > 330


@needs_chromium
def test_a_wide_table_fits_a_desk_or_shows_that_it_goes_on(site):
    with browser.served(site) as address, browser.Browser() as b:
        b.size(1280)
        for page in ('03_translator', '06_merge', '07_evaluate'):
            b.open(f'{address}/{page}.html')
            assert not b.evaluate("[...document.querySelectorAll('div.cell_output .text_html')].filter(e => e.scrollWidth > e.clientWidth + 1).length"), page
        b.size(390)
        b.open(f'{address}/07_evaluate.html')
        frames = "[...document.querySelectorAll('div.cell_output .text_html')]"
        fades = b.evaluate(f"{frames}.map(e => [e.scrollWidth > e.clientWidth + 1, parseFloat(getComputedStyle(e).getPropertyValue('--fade')) > 0])")
        assert [True, True] in fades and all(wide == fade for wide, fade in fades), 'an edge fades where something lies behind it'
        b.evaluate(f"{frames}.forEach(e => e.scrollLeft = e.scrollWidth)")
        b.wait(f"{frames}.every(e => parseFloat(getComputedStyle(e).getPropertyValue('--fade')) < 1)")


@needs_chromium
def test_an_excerpt_that_was_found_runs_as_most_of_its_letters(site):
    "An English one whose first letters are Arabic is not turned round."
    arabic = '(text => [...text.matchAll(/\\p{Script=Arabic}/gu)].length > [...text.matchAll(/\\p{Script=Latin}/gu)].length)'
    with browser.served(site) as address, browser.Browser() as b:
        b.size(390)
        for word in ('عملة', 'slerp'):
            b.open(f'{address}/search.html?q={word}')
            texts = '[...document.querySelectorAll("#search-results li > :is(a, .context)")]'
            b.wait(f'{texts}.length > 9 && [...document.querySelectorAll("#search-results li")].every(e => e.querySelector(".context"))')
            assert not b.evaluate(f"{texts}.filter(e => (getComputedStyle(e).direction == 'rtl') != {arabic}(e.textContent)).map(e => e.textContent)")
            assert word != 'slerp' or {'rtl', 'ltr'} == {*b.evaluate(f"{texts}.map(e => e.dir)")}, 'the excerpt of the Arabic page, and others'
            assert not b.evaluate(f"{texts}.filter(e => e.scrollWidth > e.clientWidth + 1 && e.tagName == 'P' || e.getBoundingClientRect().right > 390).length")


@needs_chromium
def test_no_line_of_code_is_cut_at_a_desk(site):
    with browser.served(site) as address, browser.Browser() as b:
        b.size(1280)
        for page in ('00_sources', 'core/world', 'index'):
            b.open(f'{address}/{page}.html')
            cut = b.evaluate("""[...document.querySelectorAll('div.cell_input div.highlight pre, section > div div.highlight pre')]
                .filter(e => e.checkVisibility() && !e.closest('.cell_output') && e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 80))""")
            assert not cut, page


@needs_chromium
def test_a_long_name_leaves_room_for_its_neighbours(site, pages):
    "The table of the family hala at a desk: field, value and source are seen side by side."
    with browser.served(site) as address, browser.Browser() as b:
        b.size(1280)
        b.open(f'{address}/core/recipe.html')
        table = "[...document.querySelectorAll('article table')].find(t => t.textContent.includes('release.namespace'))"
        frame = f"({table}).closest('.pst-scrollable-table-container')"
        assert b.evaluate(f'({frame}).scrollWidth <= ({frame}).clientWidth + 1')
        assert b.evaluate(f'({table}).clientHeight') < 9500, 'the source has room for its words'
    row = next(r for r in pages[site/'core/recipe.html'].xpath('//article//tr') if 'release.namespace' in r.text_content())
    assert not row.xpath('.//a'), 'hala stands for a name on the hub there, not for the function'


@needs_chromium
def test_a_line_of_an_output_goes_on_below_and_a_table_of_letters_does_not(site):
    from pages import aligned, wide
    assert wide('a    b\n1    2' + ' '*50 + '3') and not wide('a line\nin       2\nkept     1')
    assert aligned('a    b\n1    2') and not aligned('chrf 86 against 86.19\n  yes') and not aligned("Counter({'a':  1})")
    with browser.served(site) as address, browser.Browser() as b:
        b.size(1280)
        outputs = "[...document.querySelectorAll('div.cell_output pre')].filter(e => e.checkVisibility())"
        for page, line in (('01_compress', 'one-sided'), ('core/world', 'Counter(')):
            b.open(f'{address}/{page}.html')
            found = b.evaluate(f"{outputs}.filter(e => e.textContent.includes('{line}')).map(e => e.scrollWidth - e.clientWidth)")
            assert found and max(found) < 2, page
        b.open(f'{address}/core/arms.html')
        assert 'pre' in b.evaluate(f"{outputs}.filter(e => e.textContent.includes('chrF++, n=8')).map(e => getComputedStyle(e).whiteSpace)")


@needs_chromium
def test_formulas_are_set_in_a_font_for_formulas(site):
    with browser.served(site) as address, browser.Browser() as b:
        b.open(f'{address}/core/metrics.html')
        assert b.evaluate("[...document.querySelectorAll('math')].every(m => /^.?Cambria Math.*math$/.test(getComputedStyle(m).fontFamily))")


@needs_chromium
@pytest.mark.parametrize('width', [390, 1280])
def test_an_option_stays_in_one_piece(site, pages, width):
    with browser.served(site) as address, browser.Browser() as b:
        b.size(width)
        for page in pages:
            if not re.search('<span class="pre[^"]*">-', page.read_text(encoding='utf-8')): continue
            b.open(f'{address}/{page.relative_to(site).as_posix()}')
            assert not b.evaluate("""[...document.querySelectorAll('article :is(p, li) code:not(td *) span.pre')].filter(e => {
                if (!e.textContent.startsWith('-') || e.textContent.length > 40 || !e.checkVisibility()) return false;
                const range = document.createRange(); range.selectNodeContents(e);
                return new Set([...range.getClientRects()].map(r => r.top)).size > 1;
            }).map(e => e.textContent)"""), page.name


@needs_chromium
def test_no_console_error(visited): assert not {(page, w): e for page, said in visited.items() for w in (390, 1280) if (e := said['errors', w])}


@needs_chromium
def test_no_request_to_another_host(visited): assert not {(page, w): e for page, said in visited.items() for w in (390, 1280) if (e := said['outside', w])}


@needs_chromium
@pytest.mark.parametrize('width', [390, 1280])
def test_no_horizontal_scroll(visited, width): assert not {page: said[width] for page, said in visited.items() if said[width] > width}


@needs_chromium
@pytest.mark.parametrize('width', [390, 1280])
def test_no_word_is_cut_at_the_edge(visited, width): assert not {page: said['cut', width] for page, said in visited.items() if said['cut', width]}


@needs_chromium
def test_arabic_runs_from_right_to_left(visited): assert not {page: said['wrong'] for page, said in visited.items() if said['wrong']}


@needs_chromium
def test_search_and_dark_mode(site):
    with browser.served(site) as address, browser.Browser() as b:
        b.size(1280)
        for word, page in (('slerp', '06_merge.html'), ('المترجم', 'ar.html')):
            b.open(f'{address}/search.html?q={word}')
            b.wait(f'[...document.querySelectorAll("#search-results a")].some(a => a.href.includes("{page}"))')
            assert not b.errors() and not b.outside()
        b.open(f'{address}/index.html')
        colour = 'getComputedStyle(document.body).backgroundColor'
        shades = set()
        for mode in ('light', 'dark'):
            b.evaluate(f'document.querySelector(".theme-change-button[data-mode={mode}]").click()')
            shades.add(b.evaluate(colour))
        assert len(shades) > 1, 'the switch changes the colours'
        b.ask('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': 'dark'}])
        b.evaluate('localStorage.clear()')
        b.open(f'{address}/results.html')
        assert sum(map(int, re.findall(r'\d+', b.evaluate(colour))[:3])) < 150, 'dark where the reader asks for it'


def test_the_workflow_is_what_ci_run_is():
    import yaml
    jobs = yaml.safe_load((ROOT/'.github/workflows/ci.yml').read_text(encoding='utf-8'))['jobs']
    last = [job['steps'][-1].get('run') for job in jobs.values()]
    assert last == ['bash .ci/run']


def test_citation():
    import yaml

    import hala
    said = yaml.safe_load((ROOT/'CITATION.cff').read_text(encoding='utf-8'))
    assert {'cff-version', 'message', 'title', 'authors'} <= said.keys(), 'what the format asks for'
    assert said['version'] == hala.__version__
    assert said['license'] == 'Apache-2.0'
    from hala.core.cards import CITATION
    (paper,) = said['references']
    names = ' and '.join(f"{a['family-names']}, {a['given-names']}" for a in paper['authors'])
    assert f'{{{names}}}' in CITATION and f"{{{paper['year']}}}" in CITATION and f"{paper['start']}--{paper['end']}" in CITATION, 'as each card cites it'


def test_colab_badges_lead_where_the_settings_say():
    from readme import ADDRESS, COLAB, badges, colab
    for name in ('index', '05_sft'):
        text = (ROOT/f'nbs/{name}.ipynb').read_text(encoding='utf-8')
        where = colab(f'{name}.ipynb') or f'../{ADDRESS}'
        assert f'[![Open in Colab](colab.svg)]({where})' in text and badges(text, f'{name}.ipynb') == text, name
        assert '](https://colab.research.google.com/github/)' not in text, 'an empty list of repositories'
    assert colab('05_sft.ipynb', '') == ''
    assert ADDRESS.partition('#')[2] == 'a-public-address' and '## A public address' in (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8')
    assert colab('05_sft.ipynb', 'https://github.com/o/hala.git') == f'{COLAB}o/hala/blob/main/nbs/05_sft.ipynb'
    with pytest.raises(SystemExit, match='is not of the kind'): colab('index.ipynb', 'https://example.org/hala')


def test_the_arabic_page_tells_what_the_english_page_tells():
    "Every figure of the table, and every number of what it shows, meets, misses and does not show."
    from readme import ARABIC

    from hala.cli import MEANING
    assert ARABIC.keys() == MEANING.keys()
    run = json.loads((ROOT/'docs/results/tiny-3M.json').read_text(encoding='utf-8'))
    english, arabic = ((ROOT/name).read_text(encoding='utf-8') for name in ('README.md', 'README.ar.md'))
    table = arabic.split('<!-- results')[1].split('<!-- end')[0].replace('\u00a0', ' ')
    for name in ARABIC:
        scale = 1 if name.endswith('chrf') else 100
        low, high = (f'{scale*end:.1f}' for end in run['intervals'][name])
        assert f'{scale*run[name]:.1f}' in table and f'({low} إلى {high})' in table, name
    def numbers(text): return sorted(re.findall(r'-?\d[\d,.]*\d|\d', re.sub(r'\]\([^)]*\)', '', text)))
    told = english.split('What this shows')[1].split('\n## ')[0], arabic.split('<!-- end of results -->')[1].split('\n## ')[0]
    assert numbers(told[0]) == numbers(told[1])
    assert 'nbs/pipeline.svg' in english and 'nbs/pipeline.svg' in arabic
    badge = re.compile(r'\]\(nbs/colab\.svg\)\]\(\S+\)')
    assert badge.findall(english) == badge.findall(arabic) != []
    commands = [line.split('#')[0].strip() for block in re.findall(r'```\w+\n(.*?)```', english, re.S) for line in block.splitlines()]
    commands += ['papermill nbs/05_sft.ipynb -p size 1M', '< /dev/null > out.ipynb', '--adopt 04=', '--processes N', 'hala run --recipes FILE.py']
    assert len(commands) > 15 and not [c for c in commands if c not in english or c not in arabic]


@pytest.mark.parametrize('path', sorted((ROOT/'nbs').glob('0?_*.ipynb')), ids=lambda path: path.stem)
def test_a_stage_opens_with_the_question_it_answers(path):
    first = json.loads(path.read_text(encoding='utf-8'))['cells'][0]['source']
    assert re.search(r'^> .*\?$', ''.join(first), re.M)
