"A headless Chromium, driven through its own protocol (https://chromedevtools.github.io/devtools-protocol): what a page asks for, says and computes."
import base64
import functools
import http.server
import json
import shutil
import socketserver
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from websocket import create_connection

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
WAIT = 120    # seconds for one answer: other work may share the cores
# the letters of a text within an element, from left to right, as they are painted
ORDER = '''(root, text) => {
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT), at = []; let all = '';
    for (let node; node = walk.nextNode();) for (let i = 0; i < node.data.length; i++) { all += node.data[i]; at.push([node, i]); }
    const start = all.indexOf(text), range = document.createRange();
    return [...text].map((letter, k) => {
        const [node, i] = at[start + k]; range.setStart(node, i); range.setEnd(node, i + 1); return [range.getClientRects()[0].left, letter];
    }).sort((a, b) => a[0] - b[0]).map(x => x[1]).join('');
}'''


class Browser:
    "One page in one headless Chromium. Names other than 127.0.0.1 do not resolve in it: what a page asks of them is noted in `outside` and fails."
    def __enter__(self):
        self.home = tempfile.mkdtemp()
        self.process = subprocess.Popen([
            CHROMIUM, '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars', '--remote-debugging-port=0',
            '--remote-allow-origins=*', '--disable-background-networking', '--disable-component-update', '--no-first-run', f'--user-data-dir={self.home}',
            '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', 'about:blank'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port, until = Path(self.home)/'DevToolsActivePort', time.monotonic() + WAIT
        while not (port.exists() and port.read_text().count('\n')):
            if self.process.poll() is not None or time.monotonic() > until: raise RuntimeError('Chromium did not start')
            time.sleep(.1)
        number, path = port.read_text().split('\n')[:2]
        self.socket = create_connection(f'ws://127.0.0.1:{number}{path}', timeout=WAIT, suppress_origin=True)
        self.sent, self.session, self.events = 0, None, []
        target = self.ask('Target.createTarget', url='about:blank')['targetId']
        self.session = self.ask('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'): self.ask(f'{domain}.enable')
        # a font whose loading is cut off by the next page stays "loading" in Chromium's memory, for every page that asks for it later
        self.ask('Network.setCacheDisabled', cacheDisabled=True)
        return self

    def __exit__(self, *_):
        self.socket.close()
        self.process.terminate()
        self.process.wait(WAIT)
        shutil.rmtree(self.home, ignore_errors=True)

    def ask(self, method, **params):
        "Send one command, give its result; events that arrive meanwhile are kept."
        self.sent += 1
        self.socket.send(json.dumps({'id': self.sent, 'method': method, 'params': params} | ({'sessionId': self.session} if self.session else {})))
        while (said := json.loads(self.socket.recv())).get('id') != self.sent: self.events.append(said)
        if 'error' in said: raise RuntimeError(f'{method}: {said["error"]["message"]}')
        return said['result']

    def evaluate(self, script):
        "The value of a JavaScript expression in the page, awaited where it is a promise."
        found = self.ask('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in found: raise RuntimeError(found['exceptionDetails'])
        return found['result'].get('value')

    def wait(self, script, seconds=WAIT):
        "Until the expression is true."
        until = time.monotonic() + seconds
        while not self.evaluate(script):
            if time.monotonic() > until: raise TimeoutError(script)
            time.sleep(.05)

    def size(self, width, height=900): self.ask('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600)

    def open(self, url):
        "Load a page and forget what earlier pages said."
        self.events.clear()
        self.ask('Page.navigate', url=url)
        self.wait(f'location.href === new URL({json.dumps(url)}).href && document.readyState === "complete"')
        self.evaluate('document.fonts.ready.then(() => 1)')

    def key(self, text):
        "Press one key, e.g. 'j' or 'Enter'."
        for kind in ('keyDown', 'keyUp'):
            self.ask('Input.dispatchKeyEvent', type=kind, key=text, **({'text': text} if len(text) == 1 and kind == 'keyDown' else {}))

    def requests(self): return [e['params']['request']['url'] for e in self.events if e['method'] == 'Network.requestWillBeSent']

    def outside(self): return [u for u in self.requests() if not u.startswith(('http://127.0.0.1:', 'file:', 'data:', 'blob:', 'about:'))]

    def errors(self):
        "What the console shows in red."
        found = [e['params']['exceptionDetails'].get('text', '') for e in self.events if e['method'] == 'Runtime.exceptionThrown']
        found += [str(e['params']['args']) for e in self.events if e['method'] == 'Runtime.consoleAPICalled' and e['params']['type'] in ('error', 'assert')]
        logged = [e['params']['entry'] for e in self.events if e['method'] == 'Log.entryAdded']
        return found + [f'{e["text"]} {e.get("url", "")}' for e in logged if e['level'] == 'error']

    def picture(self, path, whole=False):
        "A PNG of the window, or of the whole page."
        Path(path).write_bytes(base64.b64decode(self.ask('Page.captureScreenshot', captureBeyondViewport=whole)['data']))


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass


class served:
    "A folder behind http://127.0.0.1:PORT."
    def __init__(self, folder): self.folder = folder

    def __enter__(self):
        self.server = socketserver.ThreadingTCPServer(('127.0.0.1', 0), functools.partial(Quiet, directory=str(self.folder)))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f'http://127.0.0.1:{self.server.server_address[1]}'

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
