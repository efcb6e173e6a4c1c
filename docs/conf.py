"Sphinx's configuration; pages.py writes the pages that it reads, and calls it."
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from shutil import copy

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util.logging import getLogger

here = Path(__file__).parent
sys.path.insert(0, str(here))
out = Path(os.environ['HALA_SITE'])

project, author, html_title = 'hala', 'The hala authors', 'hala'
copyright = 'the hala authors, Apache-2.0'
extensions = ['myst_nb', 'sphinx_design', 'sphinx_copybutton']
exclude_patterns = ['files']
language = 'en'

nb_execution_mode = 'off'
nb_render_markdown_format = 'myst'
nb_number_source_lines = False
myst_enable_extensions = ['colon_fence', 'attrs_inline', 'attrs_block', 'dollarmath', 'html_image', 'deflist']
myst_heading_anchors = 4
myst_links_external_new_tab = False

html_theme = 'pydata_sphinx_theme'
html_static_path = ['_static', str(out/'static')]
html_extra_path = [str(out/'extra')]
html_css_files = ['hala.css']
html_favicon = '_static/halo.svg'
html_show_sourcelink = False
html_copy_source = False
html_math_renderer = 'mathml'
html_context = {'default_mode': 'auto'}    # without it the theme complains on a reader's first visit
html_sidebars = {'index': [], 'results': [], 'ar': [], 'changelog': [], 'contributing': []}
html_theme_options = {
    'logo': {'text': 'hala هالة'},
    'navbar_align': 'left',
    'header_links_before_dropdown': 9,
    'navbar_end': ['theme-switcher'],
    'show_toc_level': 2,
    'navigation_with_keys': False,
    'secondary_sidebar_items': ['page-toc'],
    'footer_start': ['copyright'],
    'footer_end': [],
    'pygments_light_style': 'a11y-light',
    'pygments_dark_style': 'a11y-dark',
}


def fonts(app):
    "The Arabic font as its package holds it (SIL Open Font License), with its licence."
    package = Path(import_module('fontpkg_ibm_plex_sans_arabic').__file__).parent
    (out/'static/fonts').mkdir(parents=True, exist_ok=True)
    for name in ('files/IBMPlexSansArabic-Regular.ttf', 'files/IBMPlexSansArabic-Bold.ttf', 'LICENSE'): copy(package/name, out/'static/fonts')


def mathml(translator, node):
    "Formulas as MathML, which browsers set themselves: no script, no font, nothing to fetch."
    tex = re.sub(r'\\[bB]igg?[lr]?(?![A-Za-z])', '', node.astext())    # MathML finds the size of brackets by itself
    try: translator.body.append(tex2mathml(tex, as_block=isinstance(node, nodes.math_block)))
    except MathError as error: getLogger('hala').warning('a formula that MathML cannot show, %s: %s', error, tex, location=node)
    raise nodes.SkipNode


def breakable(page):
    """A long name may go on below behind each of its parts, and leaves room for its neighbours in a table. An option stays in one piece, and the comma
    behind it on its line."""
    def parts(name): return re.sub(r'(?<=[,{=/._])(?=\w)', '<wbr>', name[0])
    page = re.sub(r'<span class="pre">(?=-[^<]{1,30}</span>)', '<span class="pre whole">', page)
    page = re.sub(r'(?<=<span class="pre">)(?!-)[^<]{24,}', lambda name: re.sub('_(?=[^<]{3})', '_<wbr>', name[0]), page)
    return re.sub(r'<td>.*?</td>', lambda cell: re.sub(r'(?<=<span class="pre">)[^<]{18,}', parts, cell[0].replace('<wbr>', '')), page, flags=re.S)


def finish(app, error):
    "Mark the Arabic in every page that was written; take out the theme's own template, which it copies beside its scripts."
    from arabic import mark
    if not error:
        (Path(app.outdir)/'_static/webpack-macros.html').unlink()
        for page in Path(app.outdir).rglob('*.html'): page.write_text(mark(breakable(page.read_text(encoding='utf-8'))), encoding='utf-8')


def searching(app, page, template, context, doctree):
    "The page of the search alone takes the script that gives each excerpt its direction."
    if page == 'search': app.add_js_file('search.js', loading_method='defer')


def setup(app):
    fonts(app)
    app.connect('html-page-context', searching)
    app.add_html_math_renderer('mathml', inline_renderers=(mathml, None), block_renderers=(mathml, None))
    app.connect('build-finished', finish)
