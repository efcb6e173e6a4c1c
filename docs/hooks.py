"What `make` sets up beside the packages: notebooks that git merges and shows as notebooks, and that Jupyter saves clean. Nothing outside the checkout."
import subprocess
import sys
from pathlib import Path

root, bin = Path(__file__).resolve().parents[1], Path(sys.prefix)/'bin'
ON_SAVE = """# written by docs/hooks.py: a notebook is saved as nbdev-clean would leave it
from nbdev.clean import clean_jupyter
c.ContentsManager.pre_save_hook = clean_jupyter
"""
AFTER_MERGE = f'#!/bin/sh\n# written by docs/hooks.py: notebooks that came with a merge are trusted, as the ones here were\nexec "{bin}/nbdev-trust"\n'


def git(*arguments): return subprocess.run(['git', '-C', root, *arguments], capture_output=True, text=True)


def main():
    config = Path(sys.prefix)/'etc/jupyter/jupyter_server_config.py'    # read by the Jupyter of this environment alone
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(ON_SAVE, encoding='utf-8')
    top = git('rev-parse', '--show-toplevel')
    if top.returncode or Path(top.stdout.strip()) != root: return    # an archive without its history
    git('config', '--local', 'merge.jupyternotebook.name', 'notebooks, cell by cell')
    git('config', '--local', 'merge.jupyternotebook.driver', f'"{bin}/nbdev-merge" %O %A %B %P')
    git('config', '--local', 'diff.jupyternotebook.command', f'"{bin}/nbdev-diff-driver"')
    hook = root/git('rev-parse', '--git-path', 'hooks/post-merge').stdout.strip()
    if hook.exists() and 'docs/hooks.py' not in hook.read_text(encoding='utf-8'): return    # somebody's own
    hook.parent.mkdir(parents=True, exist_ok=True)
    hook.write_text(AFTER_MERGE, encoding='utf-8')
    hook.chmod(0o755)


if __name__ == '__main__': main()
