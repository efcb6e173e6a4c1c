"""Clean pairs made of the embedded world, and the defects that are planted in them."""
import random
import re

from hala.core.meaning import countries
from hala.core.text import content
from hala.core.world import carry, catalogs, names, reference

UNITS = [('km', 'كم'), ('kg', 'كغ'), ('m', 'م'), ('cm', 'سم'), ('km/h', 'كم/س'), ('°C', '°م'), ('%', '%'), ('MB', 'ميغابايت')]
CODE = 'Run `ls -l` (see https://example.org/a) first.', 'شغّل `ls -l` (انظر https://example.org/a) أولًا.'


def measured(r):
    "A sentence with a number and a unit, the number in either kind of digits."
    n, (en, ar) = r.choice([r.randint(2, 9), r.randint(10, 99999), round(r.uniform(1, 99), 1), f'{r.randint(1, 99)},{r.randint(100, 999)}']), r.choice(UNITS)
    digits = str(n) if r.random() < .5 else str(n).translate(str.maketrans('0123456789.,', '٠١٢٣٤٥٦٧٨٩٫٬'))
    return f'The value (as measured) is {n} {en}.', f'القيمة (كما قيست) هي {digits} {ar}.'


def clean(count, seed=0):
    "Pairs of one to four sentences: answers, questions, catalog strings, measures; some as lists, some with code, addresses and brackets."
    r = random.Random(seed)
    said = [(content(x['messages_source'], role), content(x['messages'], role)) for x in reference() for role in ('user', 'assistant')]
    strings = [(e.english, e.arabic) for e in catalogs()]
    carried = [pair for n in names() for pair in carry(n)]
    out = []
    for _ in range(count):
        u = r.random()
        if u < .25: out.append(r.choice(said))
        elif u < .5: out.append(r.choice(strings))
        else:
            some = [r.choice([r.choice(said), r.choice(carried), measured(r), CODE])
                    for _ in range(r.randint(2, 4))]
            glue = '\n- ' if u > .9 else ' '
            out.append(tuple((glue if glue != ' ' else '').lstrip('\n') + glue.join(s[i] for s in some) for i in (0, 1)))
    return out


def words_at(text, r): return r.choice([m.start() for m in re.finditer(r'(?<=\s)(?=[\u0621-\u064a]{3})', text)] or [0])


def exchanged(source, target, r):
    "One country of the translation for another; None where there is none."
    (_, en), (arabic, ar) = countries()
    found = ar.search(target) if en.search(source) else None
    other = r.choice([n for n in arabic if arabic[n] != arabic[found[1]]]) if found else ''
    return (target[:found.start(1)] + other + target[found.end(1):], 'stop') if found else None


DEFECTS = { # name -> function of (source, target, random) -> (target, finish), or None where it cannot be planted
    'garbled unit': lambda s, t, r: (re.sub(r'(\d ?)(كم|كغ|سم|م|ميغابايت)\b', lambda m: m[1] + r.choice(['k', 'µ', 'h']) + m[2], t, count=1), 'stop'),
    'unit half translated': lambda s, t, r: (re.sub(r'(\d ?)(كم/س|كم|كغ|سم|م|ميغابايت)\b', lambda m: m[1] + r.choice(['km/س', 'كم/h', 'م / s', 'C°']), t,
                                                    count=1), 'stop'),
    'unit half in Latin': lambda s, t, r: (re.sub(r'(\d ?)(كم|كغ)(?!/)\b', lambda m: m[1] + {'كم': 'كm', 'كغ': 'كg'}[m[2]], t, count=1), 'stop'),
    'another unit': lambda s, t, r: (re.sub(r'(\d ?)(كم|كغ|سم)(?!/)\b', lambda m: m[1] + r.choice([u for u in ('كم', 'كغ', 'سم', 'مل') if u != m[2]]), t,
                                            count=1), 'stop'),
    'unbalanced brace': lambda s, t, r: (t[:(i := words_at(t, r))] + r.choice('(){}[]') + t[i:], 'stop'),
    'raw <br>': lambda s, t, r: (t[:(i := words_at(t, r))] + r.choice(['<br>', '<br/>', '<br />', '</p>', '&nbsp;']) + t[i:], 'stop'),
    r'literal \n': lambda s, t, r: (t[:(i := words_at(t, r))] + r.choice([r'\n', r'\n\n', r'\t', r'\r\n']) + t[i:], 'stop'),
    'left in English': lambda s, t, r: (s, 'stop'),
    'half translated': lambda s, t, r: (s[:len(s)//2] + t[len(t)//2:], 'stop') if len(s.split()) >= 12 else None,
    'loop': lambda s, t, r: (t + (' ' + ' '.join(t.split()[-r.randint(1, 3):]))*r.randint(4, 20), 'stop'),
    'said three times': lambda s, t, r: (' '.join([t]*3), 'stop') if len(re.findall(r'\w+', t)) > 4 else None,
    'cut by the engine': lambda s, t, r: (t[:len(t)*2//3], 'length'),
    'cut at the end': lambda s, t, r: (' '.join(t.split()[:len(t.split())//2]), 'stop') if re.search(r'[.!?]$', s) and len(t.split()) > 3 else None,
    'answered': lambda s, t, r: (r.choice(['الجواب هو نعم.', 'هي عاصمة معروفة في قارة آسيا.', 'بالتأكيد! إليك الإجابة.']), 'stop') if s.endswith('?') else None,
    'talks first': lambda s, t, r: (r.choice(['بالتأكيد! ', 'إليك الترجمة: ', 'الترجمة: ', 'Sure, here is the translation: ']) + t, 'stop'),
    'number changed': lambda s, t, r: (re.sub(r'\d+', lambda m: str(int(m[0])+r.randint(1, 9)), t, count=1), 'stop'),
    'number lost': lambda s, t, r: (re.sub(r'[\d٠-٩]{2,}[.,٫٬\d]*', '', t, count=1), 'stop'),
    'another country': lambda s, t, r: exchanged(s, t, r),
    'tatweel': lambda s, t, r: (re.sub(r'(?<=[بتثسشصضطظعغفقكلمنهي])(?=[\u0621-\u064a])', 'ـ', t, count=r.randint(1, 3)), 'stop'),
    'presentation forms': lambda s, t, r: (re.sub('لا|ل', lambda m: {'لا': '\ufefb', 'ل': '\ufedf'}[m[0]], t, count=2), 'stop'),
    'diacritics': lambda s, t, r: (re.sub(r'([\u0621-\u064a])', lambda m: m[1] + r.choice('\u064e\u064f\u0650\u0652'), t), 'stop'),
    'bidi control': lambda s, t, r: (t[:(i := words_at(t, r))] + r.choice('\u200e\u200f\u202b\u2067') + t[i:], 'stop'),
    'replacement character': lambda s, t, r: (re.sub(r'[\u0621-\u064a]', '\ufffd', t, count=1), 'stop'),
    'mojibake': lambda s, t, r: (t.encode().decode('cp1252', 'replace'), 'stop'),
    'code changed': lambda s, t, r: (t.replace('`ls -l`', '`ls-l`'), 'stop'),
    'address lost': lambda s, t, r: (t.replace('https://example.org/a', ''), 'stop'),
    'Chinese inside': lambda s, t, r: (t + ' 的', 'stop'),
    'Persian': lambda s, t, r: (t.replace('ي', 'ی').replace('ك', 'ک'), 'stop'),
    'empty': lambda s, t, r: ('', 'stop')}


def planted(count=10_000, share=.01, seed=0):
    "Rows (source, target, finish, name of the defect or None): `share` of the rows carry each defect."
    r = random.Random(seed)
    rows = [(s, t, 'stop', None) for s, t in clean(count, seed)]
    free = iter(r.sample(range(count), count))
    for name, plant in DEFECTS.items():
        left = round(share*count)
        while left:
            i = next(free); s, t, *_ = rows[i]
            done = plant(s, t, r)
            if done and done[0] != t or done and done[1] == 'length': rows[i] = (s, *done, name); left -= 1
    return rows
