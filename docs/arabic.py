"Arabic right to left wherever it stands: in running text, tables, outputs, code and menus."
import re
from itertools import groupby
from operator import itemgetter

from lxml import html

LETTERS = r'\u0621-\u064a\u0671-\u06d3\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc'
# from the first Arabic letter to the last one that no Latin letter, quote or bracket of code separates from it
RUN = re.compile(rf'[{LETTERS}](?:[^A-Za-z{{}}\[\]<>"\'`,;|=\n\\]*[{LETTERS}\u064b-\u0655؟])?؟*')
CLOSED = re.compile(rf'{RUN.pattern}(?:[.!:؟]+(?=\s|$))?')    # what is printed is lines of Arabic; in a sentence of other letters the full stop is theirs
BLOCKS = ('article', 'p', 'li', 'td', 'th', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'dt', 'dd', 'blockquote', 'figcaption')
LEFT = ('pre', 'code', 'math')    # read from the left also on an Arabic page
STRING = {'s1', 's2', 's', 'sa', 'si', 'se'}    # what Pygments calls the parts of a string
JSON = re.compile(r"""['"]+\s*\[?\{\\?["']""")    # its brackets and names are read from the left, whatever language its values have
LEAVE = {'script', 'style', 'title', 'textarea', 'svg', 'math', 'option'}


def mostly(text):
    "Whether a text has more Arabic letters than Latin ones."
    arabic = len(re.findall(rf'[{LETTERS}]', text))
    return arabic > len(re.findall('[A-Za-z]', text))


def spans(text, printed=False):    # printed: it stands in an output or in code
    "A text as [what stands before, span, what follows it, span, what follows it...]."
    parts, at = [''], 0
    for match in (CLOSED if printed else RUN).finditer(text):
        span = html.Element('span', lang='ar', dir='rtl')
        span.text = match[0]
        parts[-1] += text[at:match.start()]
        parts += [span, '']
        at = match.end()
    parts[-1] += text[at:]
    return parts


def insert(parent, position, parts):
    "Put the spans before the child at `position`, and their tails with them."
    for n, (span, tail) in enumerate(zip(parts[1::2], parts[2::2])):
        span.tail = tail or None
        parent.insert(position + n, span)


def strings(pre):
    "Each string of code that is mostly Arabic, its quotes and placeholders in it too, into one span that runs from right to left."
    group, depth = [], 0    # (token, whether it is code: a placeholder with all it holds, or an escape); braces that are open
    for token in [*pre.iter('span'), None]:
        kind = None if token is None else token.get('class')
        last = group[-1][0] if group else None
        if not (depth or kind in STRING) or last is None or token is None or token.getprevious() is not last or (last.tail and not depth):
            wrap(group)
            group, depth = [], 0
            if kind not in STRING: continue
        group.append((token, depth > 0 or kind in ('si', 'se')))
        if kind == 'si': depth = max(0, depth + token.text_content().count('{') - token.text_content().count('}'))


def wrap(group):
    "One string of code as it is read: Arabic from the right, and what is code in it from the left; the letter before its quotes stays outside."
    if group and group[0][0].get('class') == 'sa': group = group[1:]
    said = ''.join(token.text_content() for token, code in group if not code)
    if not mostly(said) or JSON.match(said): return
    tokens, span = [token for token, _ in group], html.Element('span', lang='ar', dir='rtl')
    span.tail, tokens[-1].tail = tokens[-1].tail, None
    tokens[0].addprevious(span)
    for code, part in groupby(group, key=itemgetter(1)):
        if code: span.append(html.Element('span', dir='ltr'))
        (span[-1] if code else span).extend([token for token, _ in part])


def walk(element, right=False, printed=False):    # right: what stands around it runs from right to left already, and needs no more marks
    "Every run of Arabic below an element into a span of its own."
    if not isinstance(element.tag, str) or element.tag in LEAVE: return
    if direction := element.get('dir'): right = direction == 'rtl'
    printed = printed or element.tag == 'pre'
    for child in list(element):
        walk(child, right, printed)
        if child.tail and not right and RUN.search(child.tail):
            parts = spans(child.tail, printed)
            child.tail = parts[0] or None
            insert(element, element.index(child) + 1, parts)
    if element.text and not right and RUN.search(element.text):
        parts = spans(element.text, printed)
        element.text = parts[0] or None
        insert(element, 0, parts)


def mark(page):
    "A page of HTML with `dir` on what is mostly Arabic and on each run of Arabic in other text."
    tree = html.document_fromstring(page)
    body = tree.find('body')
    for element in body.iter(*BLOCKS):
        if mostly(element.text_content()):
            element.set('dir', 'rtl')
            element.set('lang', 'ar')
            for code in element.iter(*LEFT): code.set('dir', 'ltr')
    for code in body.iter('code'):    # Sphinx puts each word of it into a span of its own, and these would follow each other from the left
        if mostly(code.text_content()) and not any(code.iterancestors('pre')): code.set('dir', 'rtl'); code.set('lang', 'ar')
    for pre in body.iter('pre'): strings(pre)
    walk(body)
    return html.tostring(tree, encoding='unicode', doctype='<!DOCTYPE html>')
