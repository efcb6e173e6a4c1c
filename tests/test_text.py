"Protected spans, long texts, and records in and out."
import gzip
import json
import random
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastcore.test import test_eq as same

from hala.core.engine import engine, translate
from hala.core.recipe import HalaError
from hala.core.tables import POLICY, read_hub, read_records, read_tables, shape_of, slots, translate_records, write_table
from hala.core.text import (MASK, Translated, alone, apart, cut_short, intact, protect, put_back, restore, spans_of, split, structure,
                            translate_texts, unreadable)
from hala.core.world import orca, other, toy

BITS = ['`', '``', '```', '~~~', '\n', '\n```\n', '$', '$$', '\\', '\\(', '\\)', '\\[', '\\]', '\\begin{a}', '\\end{a}', '\\frac{1}{2}', '<', '>', '<b>',
        '</b>',
        '<!--', '-->', '<![CDATA[', ']]>', '<1>', '</1>', '<2/>', '<?xml', '?>', '<code>',
        '</code>', '<0>', '&', '&amp;', ';', '{', '}', '{x}', '{{', '}}', '"', '":', '{"a": "', '"}', '[{"', '}]', '[', ']', '%s', '%',
        '%(n)s', '⟦', '⟧', '⟦0⟧', '⟦1⟧', '⟦12⟧', '⟦00⟧', '⟦9999999999999⟧', '@', 'a@b.co', '@b.co', 'https://', '://', 'https://a.b/c(d)', 'C:\\', '/',
        '/usr/bin',
        'x.py', '.', 'www.', '~/a', '5', '0', 'مرحبا', 'ـ', '\u064b', '\u202b', '\ud800', '\udfff', '\0', '😀', ' ', 'word', 'and/or', '\\u0645', '\\n', '\\"',
        'é',
        'true', ',', ':', '١', '\\begin{b}', '\\end{b}', '$5', '$x ', '[TOOL_CALLS]',
        '[ARGS]', '[TOOL_RESULTS]', '[/TOOL_RESULTS]', '<a href="', ' autoplay', 'b.tsx',
        '<%', '%>', '<?php', '{#', '#}', '\n[x]: /a', '][x]', '[^1]', '[[', '\\emph{', '\\begin{quote}', '\\\\s1\\x', 'C:\\a b\\', '/:id',
        "''", "'", '$HOME', '$$$', '<|im_start|>', '<CODE>', '{"a": x}', 'a/']


def drawn(count, seed, longest=30):
    "Strings made of what spans are made of: most brackets are left open, most spans broken."
    r = random.Random(seed)
    return [''.join(r.choice(BITS) for _ in range(r.randint(0, longest))) for _ in range(count)]


def test_round_trip():
    r = random.Random(1)
    for n, t in enumerate(drawn(50_000, 0)):
        keep = tuple(r.choice(BITS) for _ in range(2)) if n % 3 == 0 else ()
        assert restore(*protect(t, keep)) == t, (t, keep)


def test_round_trip_any_character():
    r = random.Random(2)
    for _ in range(5_000):
        t = ''.join(chr(r.choice((r.randrange(128), r.randrange(0x600, 0x700), r.randrange(0x110000)))) for _ in range(r.randint(0, 40)))
        assert restore(*protect(t)) == t, ascii(t)


@pytest.mark.parametrize('text, spans', [
    ('Call `f(x)` or ``g`h``.', ['`f(x)`', '``g`h``']), ('```py\nx = "$1"\n```\nDone', ['```py\nx = "$1"\n```']), ('a\n~~~\nopen', ['~~~\nopen']),
    ('$E=mc^2$ and $$a+b$$', ['$E=mc^2$', '$$a+b$$']), ('between $5 and $10, or US$7', []), ('$20,000 - $30,000', []), ('it costs $5 to 7$ a day', []),
    (r'\(x\) \[y\] \begin{align}z\end{align}', [r'\(x\)', r'\[y\]', r'\begin{align}z\end{align}']), (r'\alpha \frac{1}{2}', [r'\alpha', r'\frac{1}{2}']),
    ('See https://a.org/b_(c), www.d.org/e. Mail x.y+z@mail.example.org!', ['https://a.org/b_(c)', 'www.d.org/e', 'x.y+z@mail.example.org']),
    ('انظر https://a.org/b، أو x@y.org؟', ['https://a.org/b', 'x@y.org']),
    ('open ./a, ~/b/c.txt, src/main.py or C:\\Users\\me.', ['./a', '~/b/c.txt', 'src/main.py', 'C:\\Users\\me']),
    ('he/she and/or 5 km/h on 1/2/2024', []), ('read notes.txt. Then stop.', ['notes.txt']),
    ('<b class="x">bold</b> 3 < 4 and a <b and c> d <!-- no --> &nbsp; R&D', ['<b class="x">', '</b>', '<!-- no -->', '&nbsp;']),
    ('<tool_call>{"name": "f"}</tool_call> <|im_end|>', ['<tool_call>{"name": "f"}</tool_call>', '<|im_end|>']),
    ('{x} {{y}} %s %(name)s %1$d ${HOME} <0> {0:.2f}', ['{x}', '{{y}}', '%s', '%(name)s', '%1$d', '${HOME}', '<0>', '{0:.2f}']),
    ('<1>bold</1> a<2/>b <3 /> <![CDATA[x <b> ]y]]> <?xml version="1.0"?> 1 </ 2 <!x',
     ['<1>', '</1>', '<2/>', '<3 />', '<![CDATA[x <b> ]y]]>', '<?xml version="1.0"?>']),
    ('an open <![CDATA[ x and a <? php', []), ('50% done, 100%success', []), ('Keep ⟦0⟧ and ⟦7⟧', ['⟦0⟧', '⟦7⟧']),
    ('Open style.css, main.go, App.tsx, Cargo.lock or a.jsonl.gz.', ['style.css', 'main.go', 'App.tsx', 'Cargo.lock', 'a.jsonl.gz']),
    ('It ended.In time. See IMG_1.JPG, v2.in and so.on', ['IMG_1.JPG']),
    ('<video autoplay loop src="x"> <input autofocus> <img alt="a > b" data-x> <a b c>',
     ['<video autoplay loop src="x">', '<input autofocus>', '<img alt="a > b" data-x>']),
    (r'\begin{a}x\begin{a}y\end{a}z\end{a} w \begin{b}\begin{b}q\end{b} r',
     [r'\begin{a}x\begin{a}y\end{a}z\end{a}', r'\begin{b}\begin{b}q\end{b}']),
    ('$20 and x^2 is 6$, a $5a month and 10$, $3^2 أو 4$', []),
    (r'$2x \text{ if } x > 0$ or $3\sin x$, $2^n$, $5 < a$',
     [r'$2x \text{ if } x > 0$', r'$3\sin x$', '$2^n$', '$5 < a$']),
    ('[TOOL_CALLS] [{"name": "w", "arguments": {"city": "Cairo"}}]</s> ok', ['[TOOL_CALLS] [{"name": "w", "arguments": {"city": "Cairo"}}]', '</s>']),
    ('[TOOL_CALLS]get[ARGS]{"a": "b c"} [TOOL_RESULTS] 21 degrees[/TOOL_RESULTS] [TOOL_CALLS] none', ['[TOOL_CALLS]get[ARGS]{"a": "b c"}',
     '[TOOL_RESULTS] 21 degrees[/TOOL_RESULTS]', '[TOOL_CALLS]'])])
def test_kinds(text, spans): same(spans_of(text), spans)


@pytest.mark.parametrize('text, spans', [
    ('<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\nHere.<|im_end|>',
     ['<|im_start|>user', '<|im_end|>', '<|im_start|>assistant', '<|im_end|>']),
    ('<|tool_call_start|>[f(x="a b")]<|tool_call_end|>', ['<|tool_call_start|>[f(x="a b")]<|tool_call_end|>']),
    (r'\begin{document}See $x$ \begin{itemize}\item One\end{itemize}\begin{align}a b\end{align}\end{document}',
     [r'\begin{document}', '$x$', r'\begin{itemize}', r'\item', r'\end{itemize}', r'\begin{align}a b\end{align}', r'\end{document}']),
    (r'\begin{figure}[ht]\caption{A \emph{good} $x$}\end{figure} \begin{theorem}[Euler] So.\end{theorem}',
     [r'\begin{figure}[ht]', r'\caption{', r'\emph{', '}', '$x$', '}', r'\end{figure}', r'\begin{theorem}', r'\end{theorem}']),
    ('\\section{End}\\footnote{See \\cite{a}\nnow.} \\href{https://a.b}{it} \\emph{$$} $$x$$ \\texttt{a b}',
     ['\\section{', '}', '\\footnote{', '\\cite{a}', '}', '\\href{https://a.b}{', '}', '\\emph{', '}', '$$x$$', '\\texttt{a b}']),
    (r'Let $S = \{a, b, c\}$ be, with $d = 20\%$, $20\%$ and $\frac{3}{4} = 75\%$.', [r'$S = \{a, b, c\}$', r'$d = 20\%$', r'$20\%$', r'$\frac{3}{4} = 75\%$']),
    ('$0.5$ $3.14$ $1,000$ $1/2$ $3:4$ $45°$ $20%$, paying $2', ['$0.5$', '$3.14$', '$1,000$', '$1/2$', '$3:4$', '$45°$', '$20%$']),
    (r'the $n$th term, $2n$s, H$_2$O, 10$^{-3}$ m$^2$, 25$^\circ$C, SO$_4^{2-}$ $x$y $z$',
     ['$n$', '$2n$', '$_2$', '$^{-3}$', '$^2$', r'$^\circ$', '$_4^{2-}$', '$z$']),
    ('printf "$a is\\n$", $x \\in \\R$', ['$x \\in \\R$']), (r'$x \in \R$ and $\|v\|$', [r'$x \in \R$', r'$\|v\|$']),
    ('Use `git commit\n--amend` and then `git push`.', ['`git commit\n--amend`', '`git push`']), ('- a `b\n- c` d', []), ('a `b\n\nc` ``d\n\ne``', []),
    ('Press ` once.\n`ls` is `x`', ['`ls`', '`x`']), ('a ``b `c` d', ['`c`']),
    ("The ``first'' word and ``second'' one, `hello' and `goodbye'.", []),
    ("``b''`` ``x = ''`` `'a'` `it's`", ["``b''``", "``x = ''``", "`'a'`", "`it's`"]),
    ('It costs 5$/month or 50$/year, 20$+tax and 30$.', []), ('Make $$$ fast and earn $$$', []), ('cheap $$ good, dear $$ bad $$', []),
    ('micro$oft and window$', []), ('$ABC$, $area = w$, $$\nx = \\text{if}\n$$, $$5$$', ['$ABC$', '$area = w$', '$$\nx = \\text{if}\n$$', '$$5$$']),
    ('$HOME, $JAVA_HOME:$PATH, $N_A = 6$, $USD, $US 5', ['$HOME', '$JAVA_HOME', '$PATH', '$N_A = 6$']),
    (r'Open C:\Program Files\Microsoft Office\root\WINWORD.EXE now.', [r'C:\Program Files\Microsoft Office\root\WINWORD.EXE']),
    (r'Open C:\Program Files (x86)\Foo 12.0\bin or C:\Documents and Settings\me.', [r'C:\Program Files (x86)\Foo 12.0\bin', r'C:\Documents and Settings\me']),
    (r'Copy C:\a to D:\b and C:\c, then \\nas\my docs\x.txt.', [r'C:\a', r'D:\b', r'C:\c', r'\\nas\my docs\x.txt']),
    (r'\\d\\w a \\ \hline', ['\\\\', '\\\\', '\\\\', r'\hline']),
    ('https://a.org/{owner}/{repo}/x?n={n}, https://{{host}}/a', ['https://a.org/{owner}/{repo}/x?n={n}', 'https://{{host}}/a']),
    ('/users/{id}/posts, /orders/:id/cancel. src/{n}.py {a}/{b} and/{or} he/she: /:',
     ['/users/{id}/posts', '/orders/:id/cancel', 'src/{n}.py', '{a}', '{b}', '{or}']),
    ('[[A]] and '*60 + '\n```\nx y\n```\nThen $$a+b$$ <!-- x --> {"a": "Good"}', ['```\nx y\n```', '$$a+b$$', '<!-- x -->', '{"a": "', '"}']),
    ('{"a": x} '*60 + '\\begin{a}b\\end{a}', ['\\begin{a}b\\end{a}']),
    ('[the docs]: https://a.org "Title"\nSee [x][the docs].[^1]\n[^1]: Note.\n[Note]: this is it.',
     ['[the docs]:', 'https://a.org', '][the docs]', '[^1]', '[^1]']),
    ('{# a #} {{\n x | y\n}} {{a\n\nb}} <%= a %> <?php b; ?> %ld %@ 5%@ <SCRIPT>a b</script>',
     ['{# a #}', '{{\n x | y\n}}', '<%= a %>', '<?php b; ?>', '%ld', '%@', '<SCRIPT>a b</script>'])])
def test_spans_and_prose_beside_them(text, spans):
    same(spans_of(text), spans)
    same(restore(*protect(text)), text)


@pytest.mark.parametrize('english, arabic', [
    ('Run `a` and $x$, or [the docs][docs].', 'شغّل`a`و$x$، أو [التوثيق][docs]؟'), ("A ``good'' word, ``two''.", "كلمة ``جيدة'' و``ثنتان''."),
    ('Open C:\\My Files\\a and \\\\nas\\b c\\d.', 'افتح C:\\My Files\\a؟ و\\\\nas\\b c\\d، ثم'),
    ('Open src/a/main.py, /usr/bin and C:\\b', 'افتح وsrc/a/main.py و/usr/bin، وC:\\b؟'),
    ('GET /users/{id}/x or https://a.b/{id}.', 'نفّذ /users/{id}/x، أو https://a.b/{id}؟'), ('GET /a/:id and b', 'نفّذ /a/:idوb'),
    ('It costs 5$ or 6$.', 'يكلّف 5$ أو 6$.'),
    ('\\section{The end} \\emph{so} $x$.', '\\section{النهاية} \\emph{هكذا} $x$.'), ('[docs]: https://a.b\nSee $HOME.', '[docs]: https://a.b\nانظر $HOME، ثم'),
    ('<|im_start|>user\nHi<|im_end|>', '<|im_start|>user\nمرحبا<|im_end|>')])
def test_spans_are_found_among_arabic(english, arabic): assert intact(english, arabic), (spans_of(english), spans_of(arabic))


def test_a_row_of_slashes_takes_no_time():
    import time
    start = time.process_time(); spans_of('a/'*150_000)
    assert time.process_time()-start < 3


PRICES = """$5 and $10|from $5 to $10|between $5-$10|5$/month|5$/month or 50$/year|costs $20 or 30$|US$5, A$6|US$5, A$6 or HK$7|$20,000 - $30,000|$1,000
$1,200.50 and $3|$5.00|a $5 bill|a $5, a $10 and a $20 bill|($5) and ($6)|$5/$10|$5-10|$5–$10 per head|$5M and $6B|$1.5 million or $2 billion
$5k to $10k|5k$ or 10k$|$9.99*|costs $9.99*$ no|$9.99+$ a night|$100,000+ salary, $200k|A: $5. B: $6. C: $7.|$1 = €0.92, $2 = €1.84|20$+tax and 30$
it costs $5 to 7$ a day|Total = $50*3 = $150.|You get $50+$20=$70|$50 + $20 = $70|$12 * 3 = $36 and $36 / 4 = $9.|He pays $4/hour * 5 hours = $20.
A $10-a-month and a $20-a-month plan|It costs $5 (five dollars) or $6 (six).|$5, 10% off; $6, 20% off|save 20% of $50, then $10|10$, 20$ and 30$
$20 and x^2 is 6$|the $5th or $10th|$5s and $10s|in $s or in US$|Make $$$ fast and earn $$$|cheap $$ good, dear $$ bad $$|US$ 5 or A$ 6|AU$5–AU$10
$USD 5, $US 6|R$50 e R$60|$5/kg, $6/lb|$.50 and $.75|$5!$6!|a $5a month and 10$|"$5" or "$6"|كلفته 5$ أو 10$|من $5 إلى $10|بين 5$-10$|$5 و$10
5 $ و 6 $|US$5 أو 20$""".replace('\n', '|').split('|')


def test_prices_are_no_formulas():
    assert len(PRICES) > 60
    same([(t, found) for t in PRICES if (found := spans_of(t))], [])


def test_json():
    t = '{"title": "Good \\"day\\"", "tags": ["one", "see https://a.org"], "n": 1.5, "ok": true}'
    masked, spans = protect(t)
    same(MASK.sub('|', masked), '|Good |day|one|see |')
    same(json.loads(restore(masked.replace('Good', 'يوم'), spans))['title'], 'يوم "day"')
    assert not intact(t, t.replace('one', 'o"ne'))


def test_terms():
    same(spans_of('Hala, Halal and Hala 2', ('Hala', 'Hala 2')), ['Hala', 'Hala 2'])
    same(spans_of('Use Next.js Router', ('Next.js Router',)), ['Next.js Router'])
    same(spans_of('Mail a.b@c.co Support or Acme <b>Pro</b>.', ('a.b@c.co Support', 'Acme <b>Pro</b>')), ['a.b@c.co Support', 'Acme <b>Pro</b>'])
    same(spans_of('New York City, see `Hala`', ('New York', 'York City', 'Hala')), ['New York City', '`Hala`'])
    same(protect('Use Next.js Router', ('Next.js Router',)), ('Use ⟦0⟧', ['Next.js Router']))
    assert intact('Hala runs', 'يعمل Hala', ('Hala',)) and not intact('Hala runs', 'تعمل هلا', ('Hala',))


def test_nothing_is_searched_twice():
    "Unclosed brackets by the thousand: eight times the text takes about eight times as long, not sixty-four."
    import time
    for bit in BITS:
        took = []
        for n in (5_000, 40_000):
            t = (bit*n)[:n]; start = time.process_time(); restore(*protect(t, ('Hala',))); put_back(t, t); structure(t); took.append(time.process_time()-start)
        assert took[1] < 30*took[0] + .2, (bit, took)


class Echo:
    "What a translator of a given quality says."
    def __init__(self, change=lambda t: t, finish='stop'): self.change, self.finish, self.asked = change, finish, []
    def __call__(self, texts):
        self.asked += texts
        return [Said(self.change(t), self.finish) for t in texts]


class Said:
    def __init__(self, text, finish): self.text, self.finish, self.tokens_out = text, finish, len(text)


def test_rejoined_exactly():
    texts = [t for t in drawn(2_000, 3, 60) if not unreadable(t)]
    texts += ['# A\n\n1. One. Two.\n   - b\n\n| a | b |\n|---|---|\n| c d | e |\n\n> f\n', 'x'*500, 'a b '*300]
    for window in (5, 40, 4000):
        for t, o in zip(texts, translate_texts(texts, Echo(), window=window)):
            assert o.text == t, (t, o)
            same(''.join(split(t, window)), t)


def test_window_is_kept():
    e = Echo(); translate_texts(['One two. Three four five. ' * 50 + '`code`'], e, window=60)
    assert e.asked and all(len(t) <= 60 for t in e.asked)


def test_neighbours_of_a_span_are_asked_as_without_it():
    "What stands around a sentence with a span is the same question to the translator as without that sentence; what is no sentence is none."
    around = ['Where is Rome? Say it. ', 'Then go home.\nAnd sleep.']
    for middle, own in (('See https://a.example/b first. ', 'See https://a.example/b first.'), ('`x` ', '`x` Then go home.')):
        e = Echo(); translate_texts([around[0] + middle + around[1]], e)
        assert around[0].strip() in e.asked and own in e.asked, e.asked
    e = Echo(); translate_texts(['Run this:\n\n```\nls\n```\n\nThen stop.'], e)
    same(e.asked, ['Run this:', 'Then stop.'])
    wrapped = 'One line that goes\non to the `next` one and\nends here.'
    same(apart(protect(wrapped)[0]), [protect(wrapped)[0]])
    for t in drawn(2_000, 5): same(''.join(apart(t)), t)


def test_a_lost_sentence_goes_down_the_ladder():
    "A translator that drops its last sentence in company is asked for each by itself."
    def drops(t): return ' '.join(t.split('. ')[:1]) if '. ' in t else t
    text = 'First we went home after the rain. Then we slept.'
    same(translate_texts([text], Echo(drops))[0], Translated(text, 'stop', 81, 'sentences', None))
    same(translate_texts(['It rained all day and we stayed at home.'], Echo(lambda t: 'It rained'))[0].reason, 'truncated')
    assert not cut_short('Save.', 'حفظ', ('Save.', 'حفظ'))


def test_sentences_with_spans_are_lessons_by_themselves():
    pair = 'What is it? Do not use `a` or `b`. Thanks.', 'ما هو؟ لا تستخدم `b` أو `a`. شكرا.'
    same(alone(*pair), [('Do not use `a` or `b`.', 'لا تستخدم `b` أو `a`.')])
    same([alone('Use `a`. Go.', 'استخدم `a`.'), alone('No span. At all.', 'لا شيء. هنا.')], [[], []])


def test_json_through_a_translator():
    t = '{"name": "Good morning", "tags": ["one word", "https://a.example"], "n": 1.5, "deep": {"say": "Hello {x}"}}'
    said = json.loads(translate_texts([t], Echo(str.upper))[0].text)
    same(said, {'name': 'GOOD MORNING', 'tags': ['ONE WORD', 'https://a.example'], 'n': 1.5, 'deep': {'say': 'HELLO {x}'}})


def test_structure_is_proved():
    t = '- one\n- two\n\nthree'
    same(translate_texts([t], Echo(lambda s: s.replace('\n', ' ')))[0][3:], ('sentences', None))
    same(translate_texts([t], Echo(lambda s: s + '\n# more'))[0].reason, 'structure')


@pytest.mark.parametrize('text, change, way', [ # what a translator does to a whole text, and which way brings it home; None: rejected
    ('a | b\n---|---\nc | d', lambda t: t.replace(' |', ''), 'sentences'), ('| a | b |\n|---|---|', lambda t: t.replace('|', ''), 'sentences'),
    ('>> one\n> two', lambda t: t.replace('>>', '>'), 'plain'), ('- [x] a\n- [ ] b', lambda t: t.replace('[x] ', '').replace('[ ] ', ''), 'plain'),
    ('One.\r\n\r\nTwo.', lambda t: t.replace('\r', ''), 'plain'), ('One\rtwo', lambda t: t.replace('\r', '\n'), 'plain'),
    ('- a\n    - b\n      c', lambda t: '\n'.join(map(str.strip, t.split('\n'))), 'plain'),
    ('One  \ntwo\n***\nthree', lambda t: t.replace('  ', '').replace('***', '---'), 'plain'),
    ('### One\n1. two', lambda t: t.replace('### ', '# ').replace('1. ', '- '), 'plain'), ('1. one\n2. two', lambda t: t.replace('\n', ' '), 'sentences'),
    ('It is *so* good.', lambda t: t.replace('*', ''), None), ('It is _so_ good.', lambda t: t.replace('_', ''), None),
    ('It is ~~not~~ good.', lambda t: t.replace('~', ''), None),
    ('It is __so__ good.', lambda t: t.replace('_', ''), None),
    ('It is ***so*** good.', lambda t: t.replace('***', '**'), None), ('One', lambda t: '- '+t, None)])
def test_markdown_before_is_markdown_after(text, change, way):
    o = translate_texts([text], Echo(change))[0]
    same((o.reason, o.text) if way is None else (o.way, o.text), ('structure', change(text)) if way is None else (way, text))


def test_stars_that_are_no_markup_reject_nothing():
    for a, b in [('2 * 3 * 4 = 24', '24 = 2 × 3 × 4'), ('The file my_own_name has it', 'هو في my own name'),
                 ('Prices* are net.', 'الأسعار صافية.'), ('Cats | dogs', 'قطط وكلاب')]:
        same(translate_texts([a], Echo(lambda t, b=b: b))[0].reason, None)


def test_reasons():
    one = lambda change, finish='stop': translate_texts(['Open `a` now'], Echo(change, finish))[0].reason
    same([one(lambda t: 'gone'), one(lambda t: ''), one(lambda t: t, 'length'), one(lambda t: t+' ⟦0⟧'), one(lambda t: t)],
            ['spans', 'empty', 'truncated', 'spans', None])
    same(translate_texts(['x'*1_000_001, 5, ''], Echo())[0:3], [Translated(None, 'stop', 0, 'copied', 'too long'),
            Translated(None, 'stop', 0, 'copied', 'not text'), Translated('', 'stop', 0, 'copied', None)])


SHAPED = [
    ('messages', [dict(id=1, messages=[dict(role='system', content='Be kind'), dict(role='user', content='Hi'), dict(role='assistant', content='Yes')])]),
    ('sharegpt', [dict(conversations=[{'from': 'human', 'value': 'Hi'}, {'from': 'gpt', 'value': 'Yes'}], source='x')]),
    ('alpaca', [dict(instruction='Say', input='it', output='Yes', lang='en')]), ('prompt/completion', [dict(prompt='Hi', completion='Yes')]),
    ('prompt/completion', [dict(system_prompt='Be kind', question='Hi', response='Yes', id='q1')]),
    ('preference', [dict(prompt='Hi', chosen=[dict(role='assistant', content='Yes')], rejected=[dict(role='assistant', content='No')])]),
    ('text', [dict(text='Hi', n=3)])]


@pytest.mark.parametrize('name, records', SHAPED)
@pytest.mark.parametrize('ending', ['.jsonl', '.parquet', '.json', 'folder', '.csv', '.tsv'])
def test_same_shape_out(name, records, ending, tmp_path):
    path = tmp_path/f'a{ending}'
    if ending == '.json': path.write_text(json.dumps(records))
    elif ending == 'folder':
        from datasets import Dataset
        Dataset.from_list(records).save_to_disk(path := tmp_path/'saved')
    elif ending in ('.csv', '.tsv'): # these hold text only
        if any(isinstance(v, list) for v in records[0].values()): pytest.skip('a conversation is no cell')
        records = [{k: str(v) for k, v in r.items()} for r in records]; write_table(path, records)
    else: write_table(path, records)
    found = read_tables(path); shape = shape_of(found)
    same((shape.name, found), (name, records))
    done = translate_records(found, shape, Echo(str.upper))
    texts = lambda r: [t for c in shape.columns for _, _, t in slots(r[c], (), 'user')]
    same([t.upper() for t in texts(records[0])], texts(done[0].record))
    same({k: v for k, v in done[0].record.items() if k not in shape.columns}, {k: v for k, v in records[0].items() if k not in shape.columns})
    both = translate_records(found, shape, Echo(str.upper), output='both')[0].record
    same([both[f'{c}_source'] for c in shape.columns], [records[0][c] for c in shape.columns])


def test_policies():
    call = dict(role='assistant', content=None, tool_calls=[dict(function=dict(name='weather', arguments='{"city": "Cairo"}'))])
    talk = [dict(messages=[dict(role='user', content='Hot?'), call, dict(role='tool', content='{"t": "warm"}'),
                           dict(role='assistant', content='<think>It is warm.</think>\n\nYes.')], tools='[]')]
    said = lambda **policy: translate_records(talk, shape_of(talk), Echo(str.upper), POLICY | policy)[0].record['messages']
    same(said()[1:3], talk[0]['messages'][1:3])
    same([said(think=how)[3]['content'] for how in ('copy', 'drop')], ['<think>It is warm.</think>\n\nYES.', 'YES.'])
    same([m['role'] for m in said(tool='drop')], ['user', 'assistant', 'assistant'])


def said(turns, **policy):
    records = [dict(conversations=turns)]
    return translate_records(records, shape_of(records), Echo(str.upper), POLICY | policy)[0].record['conversations']


@pytest.mark.parametrize('call, answer', [('function_call', 'observation'), ('tool_call', 'tool_response'), ('function', 'tool')])
def test_tools_of_sharegpt(call, answer):
    turns = [{'from': 'human', 'value': 'Hot?'}, {'from': call, 'value': '{"name": "w", "arguments": {"city": "Cairo is warm"}}'},
             {'from': answer, 'value': '{"t": "very warm"}'}, {'from': 'gpt', 'value': 'Yes.'}]
    same(said(turns), [turns[0] | {'value': 'HOT?'}, *turns[1:3], turns[3] | {'value': 'YES.'}])
    same([t['from'] for t in said(turns, tool='drop')], ['human', 'gpt'])


def test_a_call_in_a_text_stays():
    call = '[TOOL_CALLS] [{"name": "w", "arguments": {"city": "Cairo is warm"}}]'
    same(said([dict(role='user', content='Hot?'), dict(role='assistant', content=f'I ask. {call}')])[1]['content'], f'I ASK. {call}')


def test_nothing_empty_is_left_of_what_is_dropped():
    parts = lambda text: [dict(type='text', text=text)]
    turns = [dict(role='user', content=[*parts('Hot?'), dict(type='image', url='x')]), dict(role='tool', content=parts('21')),
             dict(role='assistant', content='Yes.', reasoning_content='It is warm.')]
    same([t['role'] for t in said(turns, tool='drop')], ['user', 'assistant'])
    same(said(turns, user='drop')[0]['content'], [dict(type='image', url='x')])
    same([said(turns, think=how)[2] for how in ('translate', 'copy', 'drop')],
         [dict(role='assistant', content='YES.') | more for more in (dict(reasoning_content='IT IS WARM.'), dict(reasoning_content='It is warm.'), {})])


def test_types_are_those_that_came(tmp_path):
    turn = pa.struct([('role', pa.dictionary(pa.int32(), pa.string())), ('content', pa.large_string()), ('reasoning_content', pa.string())])
    schema = pa.schema([('id', pa.int8()), ('kind', pa.dictionary(pa.int8(), pa.string())), ('score', pa.float32()), ('messages', pa.list_(turn)),
                        ('odd', pa.map_(pa.string(), pa.int16()))], metadata={'by': 'me'})
    rows = [dict(id=1, kind='a', score=.5, messages=[dict(role='user', content='Hi', reasoning_content=None)], odd=[('x', 1)]),
            dict(id=2, kind='b', score=float('nan'), messages=[dict(role='assistant', content='Yes', reasoning_content='So')], odd=None)]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), tmp_path/'in.parquet')
    records = read_tables(tmp_path/'in.parquet')
    out = [d.record for d in translate_records(records, shape_of(records), Echo(str.upper))]
    def written(*some, **like): write_table(tmp_path/'out.parquet', *some, **like); return pq.read_table(tmp_path/'out.parquet')
    found, schema = written(out), pq.read_schema(tmp_path/'in.parquet') # Parquet names the items of a list in its own way
    assert found.schema.equals(schema, check_metadata=True)
    same([m['content'] for ms in found['messages'].to_pylist() for m in ms], ['HI', 'YES'])
    assert written([], like=records).schema.equals(schema)
    both = [d.record for d in translate_records(records, shape_of(records), Echo(str.upper), output='both')]
    same(written(both).schema.field('messages_source').type, schema.field('messages').type)
    more = written([r | dict(id=1000, messages=[m | dict(new=1) for m in r['messages']]) for r in out]) # what the types have no place for
    same((more['id'].to_pylist(), more['messages'].to_pylist()[0][0]['new'], more.schema.field('kind')), ([1000]*2, 1, schema.field('kind')))


def test_every_column_of_every_record(tmp_path):
    path = tmp_path/'a.parquet'
    write_table(path, rows := [dict(a=1), dict(a=2, b='late')])
    same(read_tables(path), [dict(a=1, b=None), rows[1]])
    write_table(path, [], like=rows); same(pq.read_schema(path), pa.schema([('a', pa.int64()), ('b', pa.string())]))
    write_table(tmp_path/'a.csv', [], like=rows); same((tmp_path/'a.csv').read_text(), 'a,b\n')
    write_table(tmp_path/'b.csv', [dict(id=1, messages=(talk := [dict(role='user', content='مرحبا "x"')]))])
    same(json.loads(read_tables(tmp_path/'b.csv')[0]['messages']), talk)
    with pytest.raises(HalaError, match=r'^[^\n]*a\.parquet: Parquet cannot hold these records [^\n]*; write \.jsonl$'): write_table(path, [dict(a=2**63)])


LINES = ''.join(json.dumps(dict(id=n, text=f'Text {n}'))+'\n' for n in range(5))


@pytest.mark.parametrize('name, data', [
    ('a.CSV', b'id,text\n0,Hi\n'), ('a.Tsv', b'id\ttext\n0\tHi\n'), ('a.ndjson', b'{"id": "0", "text": "Hi"}\n'), ('a.JSONL', b'{"id": "0", "text": "Hi"}\n'),
    ('a.jsonl', b'\xef\xbb\xbf{"id": "0", "text": "Hi"}\r\n'),
    ('a.json', b'\xef\xbb\xbf[{"id": "0", "text": "Hi"}]'), ('a.csv', b'\xef\xbb\xbfid,text\n0,Hi\n'),
    ('a.jsonl.gz', gzip.compress(b'{"id": "0", "text": "Hi"}\n', mtime=0)), ('a.b.csv.GZ', gzip.compress(b'\xef\xbb\xbfid,text\n0,Hi\n', mtime=0))])
def test_files_as_they_are_named(name, data, tmp_path):
    (tmp_path/name).write_bytes(data)
    same(read_tables(tmp_path/name), [dict(id='0', text='Hi')])
    same(read_tables(tmp_path), [dict(id='0', text='Hi')])


@pytest.mark.parametrize('line, reason', [
    (b'{"text": "a\0b"}', 'control characters'), (b'null', 'not an object'), (b'[1]', 'not an object'), (b'{"a":'*5_000, 'nested too deep'),
    (b'{"text": ' + b'['*500 + b']'*500 + b'}', 'nested too deep'), (b'{"text": ', 'not JSON'), (b'{"text": "\xe9"}', 'not UTF-8'),
    (b'{"n": ' + b'1'*5_000 + b'}', 'not JSON')])
def test_a_broken_line_is_a_reject(line, reason, tmp_path):
    (tmp_path/'a.jsonl').write_bytes(LINES.encode() + line + b'\n' + LINES.encode())
    records = read_records(tmp_path/'a.jsonl')
    done = translate_records(records, shape_of(records), Echo(str.upper))
    same([d.reason for d in done], [None]*5 + [reason] + [None]*5)
    same({k: done[5].record[k] for k in ('file', 'line')}, dict(file='a.jsonl', line=6))
    write_table(tmp_path/'rejects.jsonl', [d.record | dict(reason=d.reason) for d in done if d.reason])
    same([(r['line'], r['reason'], r['raw']) for r in read_tables(tmp_path/'rejects.jsonl')], [(6, reason, line.decode(errors='backslashreplace'))])
    with pytest.raises(HalaError, match=rf'^[^\n]*a\.jsonl, line 6: {reason} [^\n]*; mend or delete the line$'): read_tables(tmp_path/'a.jsonl')
    (tmp_path/'a.jsonl').write_bytes((line + b'\n')*6 + LINES.encode())
    with pytest.raises(HalaError, match=r'^[^\n]*line 1: [^\n]*; 6 of 11 lines are like it$'): read_records(tmp_path/'a.jsonl')


def test_braces_in_a_string_are_no_depth(tmp_path):
    (tmp_path/'a.jsonl').write_text(json.dumps(dict(text='{["\\'*500)) + '\n')
    same(len(read_tables(tmp_path/'a.jsonl')), 1)


def test_a_row_with_too_many_cells(tmp_path):
    (tmp_path/'a.csv').write_text('id,text\n0,Hi\n1,"two\nlines",more,"and more"\n2,Yes\n3,No\n')
    records = read_records(tmp_path/'a.csv')
    done = translate_records(records, shape_of(records), Echo(str.upper))
    same([(d.record['text'], d.reason) for d in done], [('HI', None), ('two\nlines', 'too many cells'), ('YES', None), ('NO', None)])
    same({k: done[1].record[k] for k in ('line', 'raw')}, dict(line=4, raw=['more', 'and more']))
    same(list(done[0].record), ['id', 'text'])


def test_a_folder_with_more_than_data(tmp_path):
    for name, text in (('a.jsonl', LINES), ('config.json', '{"model_type": "x"}'), ('tokenizer.json', '{"a": 1}'), ('.cache/b.jsonl', LINES),
                       ('b.json', '[{"text": "Hi"}]')):
        (tmp_path/name).parent.mkdir(exist_ok=True); (tmp_path/name).write_text(text)
    same(len(read_tables(tmp_path)), 6)
    (tmp_path/'c.json').write_text('[{"text": ')
    with pytest.raises(HalaError, match=r'c\.json: not JSON'): read_tables(tmp_path)
    (tmp_path/'d.csv.gz').write_bytes(gzip.compress(b'id,text\n'*99, mtime=0)[:-9])
    with pytest.raises(HalaError, match='not packed by gzip'): read_tables(tmp_path/'d.csv.gz')
    with pytest.raises(HalaError, match=r'config\.json: not a list of objects'): read_tables(tmp_path/'config.json')


def test_the_hub_without_datasets(monkeypatch):
    monkeypatch.setitem(sys.modules, 'datasets', None)
    with pytest.raises(HalaError, match=r'^[^\n]*pip install hala\[train\]$'): read_hub('a/b', '', 'train', None, 1)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp('toy')
    model, tokenizer = toy(); model.save_pretrained(folder); tokenizer.save_pretrained(folder)
    with engine('hf', folder) as e: yield e


def test_real_engine(tiny):
    "An untrained model: every row is kept intact, or rejected with a reason."
    rows = [dict(messages=r['messages_source']) for r in (orca()[:3] + [r for r in other() if len(spans_of(r['messages_source'][0]['content']))][:3])]
    length = lambda t: len(tiny.tokenizer(t)['input_ids'])
    for r, d in zip(rows, translate_records(rows, shape_of(rows), lambda texts: translate(tiny, texts, 'To Arabic: {x}', 16), window=64, length=length)):
        same([m['role'] for m in d.record['messages']], [m['role'] for m in r['messages']])
        assert d.reason or all(intact(a['content'], b['content']) for a, b in zip(r['messages'], d.record['messages']))
