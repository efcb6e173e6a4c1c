"Arabic right to left wherever it stands: in running text, tables, outputs, code and menus."
import re

from lxml import html

LETTERS = r'\u0621-\u064a\u0671-\u06d3\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefc'
# from the first Arabic letter to the last one that no Latin letter, quote or bracket of code separates from it
RUN = re.compile(rf'[{LETTERS}](?:[^A-Za-z{{}}\[\]<>"\'`,;|=\n\\]*[{LETTERS}\u064b-\u0655؟])?(?:[.!:؟]+(?=\s|$))?')
BLOCKS = ('article', 'p', 'li', 'td', 'th', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'dt', 'dd', 'blockquote', 'figcaption')
LEFT = ('pre', 'code', 'math')    # read from the left also on an Arabic page
STRING = {'s1', 's2', 's', 'sa', 'si', 'se'}    # what Pygments calls the parts of a string
LEAVE = {'script', 'style', 'title', 'textarea', 'svg', 'math', 'option'}


def mostly(text):
    "Whether a text has more Arabic letters than Latin ones."
    arabic = len(re.findall(rf'[{LETTERS}]', text))
    return arabic > len(re.findall('[A-Za-z]', text))


def spans(text):
    "A text as [what stands before, span, what follows it, span, what follows it...]."
    parts, at = [''], 0
    for match in RUN.finditer(text):
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
    "Each string of code that is mostly Arabic, quotes and placeholders in it too, into one span that runs from right to left."
    group = []
    for token in [*pre.iter('span'), None]:
        follows = group and token is not None and token.getprevious() is group[-1] and not group[-1].tail
        if token is not None and token.get('class') in STRING and (not group or follows): group.append(token)
        else:
            if group and mostly(''.join(t.text or '' for t in group)): wrap(group)
            group = [token] if token is not None and token.get('class') in STRING else []


def wrap(tokens):
    span = html.Element('span', lang='ar', dir='rtl')
    span.tail, tokens[-1].tail = tokens[-1].tail, None
    tokens[0].addprevious(span)
    span.extend(tokens)


def walk(element, right=False):    # right: what stands around it runs from right to left already, and needs no more marks
    "Every run of Arabic below an element into a span of its own."
    if not isinstance(element.tag, str) or element.tag in LEAVE: return
    if direction := element.get('dir'): right = direction == 'rtl'
    for child in list(element):
        walk(child, right)
        if child.tail and not right and RUN.search(child.tail):
            parts = spans(child.tail)
            child.tail = parts[0] or None
            insert(element, element.index(child) + 1, parts)
    if element.text and not right and RUN.search(element.text):
        parts = spans(element.text)
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
