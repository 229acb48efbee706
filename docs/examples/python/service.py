#!/usr/bin/env python3
"""A small provisioning service in plain Python 3, to stand behind a Sallyport relay.

It answers phones by HTTPS: at start-up it writes their poll address, and when they call it does what is queued. Work is
queued by HTTP on loopback, and the phone is called, either by the relay's API (--api) or, as any service does that knows
nothing of Sallyport, by a contact-me request to the address that the phone announced:

    service.py --listen 127.0.0.1:18443 --cert dls.pem --key dls.key --jobs 127.0.0.1:18000 \\
        --write dcmp-url=http://proxy.example:8080/dcmp/ --api http://127.0.0.1:9470
    curl -d '{"realm": "example"}' http://127.0.0.1:18000/phones/00:1A:E8:12:34:56
    curl http://127.0.0.1:18000/phones/00:1A:E8:12:34:56
"""
import argparse
import json
import secrets
import ssl
import threading
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

LARGEST = 1_000_000  # bytes of a phone's message; a reply with all items is about 20 kB
SESSIONS = 10_000  # that wait for a phone's reply; the oldest goes


class Phone:
    """What is known of a phone, and what is to be done with it."""

    def __init__(self):
        self.jobs = []  # items to write, oldest first
        self.results = []  # what the phone replied to each
        self.contact_me = None  # where it wants to be contacted


class Service:
    def __init__(self, start_up_items, api, token):
        self.start_up_items, self.api, self.token = start_up_items, api, token
        self.lock = threading.Lock()
        self.phones = {}  # by mac-addr in lower case
        self.sessions = {}  # cookie -> (mac, items that the phone is about to reply to)

    def phone(self, mac):
        return self.phones.setdefault(mac.lower(), Phone())

    def answer(self, message, cookie):
        """The answer to a phone's message and the cookie to set. Replies name no phone, so the cookie tells which it is."""
        with self.lock:
            nonce, element = message.get("nonce", ""), message.find("ReasonForContact")
            reason = (element.text or "").strip()
            items = {item.get("name"): (item.text or "").strip() for item in message.iter("Item")}
            if reason != "reply-to":
                mac = items["mac-addr"]
                cookie = secrets.token_hex(16)
                self.phone(mac).contact_me = items.get("contact-me-uri")
                if reason == "start-up" and self.start_up_items:
                    return self.write(nonce, mac, cookie, self.start_up_items, queued=False)
                if reason != "solicited":
                    return clean_up(nonce), cookie
            else:
                mac, told, queued = self.sessions.pop(cookie)
                status = element.get("status", "").lower()
                if status == "busy" and queued:
                    # In a call: the work stays, and the phone shall come again when it is idle.
                    self.phone(mac).jobs.insert(0, told)
                    return clean_up(nonce, {"send-solicited": "true"}), cookie
                if queued:
                    refused = [item.get("name") for item in message.iter("Item") if item.get("status")]
                    self.phone(mac).results.append({"status": status, "refused": refused})
            jobs = self.phone(mac).jobs if reason == "solicited" or queued else []
            if jobs:
                return self.write(nonce, mac, cookie, jobs.pop(0), queued=True)
            return clean_up(nonce), cookie

    def write(self, nonce, mac, cookie, items, queued):
        self.sessions[cookie] = (mac, items, queued)
        if len(self.sessions) > SESSIONS:
            # Of a phone that never replied, most likely.
            del self.sessions[next(iter(self.sessions))]
        return document(nonce, "WriteItems", items), cookie

    def call(self, mac):
        """Asks the phone to call. Whether it comes at once or at its next poll makes no difference here."""
        if self.api:
            url = f"{self.api}/v1/devices/{urllib.parse.quote(mac)}/messages"
            headers = {"Content-Type": "application/json"}
            if self.token:
                headers["Authorization"] = f"Bearer {self.token}"
            request = urllib.request.Request(url, b"{}", headers)
        else:
            with self.lock:
                uri = self.phone(mac).contact_me
            if not uri:
                raise LookupError(f"{mac} has announced no address to be contacted at")
            request = urllib.request.Request(uri, b"ContactMe=true")
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status


def document(nonce, action, items):
    """A service's message. The nonce is that of the message that is answered."""
    lines = "".join(f"<Item name={quoteattr(name)}>{escape(str(value))}</Item>" for name, value in items.items())
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<DLSMessage xmlns="http://www.siemens.com/DLS">'
        f"<Message nonce={quoteattr(nonce)}><Action>{action}</Action>"
        f"{'<ItemList>' + lines + '</ItemList>' if lines else ''}</Message></DLSMessage>\n"
    ).encode()


def clean_up(nonce, items=None):
    return document(nonce, "CleanUp", items or {})


def read_message(body):
    """The Message of a phone's document, without namespaces; ValueError where it is none."""
    if b"<!DOCTYPE" in body:
        raise ValueError("a document type is nothing that phones send")
    try:
        root = ElementTree.fromstring(body)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from error
    for element in root.iter():
        element.tag = element.tag.split("}")[-1]
    message = root.find("Message")
    if message is None or message.find("ReasonForContact") is None:
        raise ValueError("no Message with a ReasonForContact")
    return message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60  # of an idle connection; phones keep theirs for a session

    def body(self):
        length = int(self.headers.get("Content-Length", "0"))
        if length > LARGEST:
            raise ValueError(f"more than {LARGEST} bytes")
        return self.rfile.read(length)

    def reply(self, status, body=b"", content_type="text/xml", cookie=None):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        # Old firmware cannot read chunks: always a length.
        self.send_header("Content-Length", str(len(body)))
        if cookie:
            self.send_header("Set-Cookie", f"SESSION={cookie}; Path=/; Secure")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Nothing: bodies and paths are nobody's business."""


class PhoneHandler(Handler):
    service = None

    def do_POST(self):
        # Phones send back the whole of Set-Cookie, attributes included.
        cookie = self.headers.get("Cookie", "").partition("SESSION=")[2].partition(";")[0]
        try:
            answer, cookie = self.service.answer(read_message(self.body()), cookie)
        except (ValueError, KeyError):
            self.close_connection = True
            return self.reply(400)
        self.reply(200, answer, cookie=cookie)


class JobHandler(Handler):
    service = None

    def mac(self):
        return urllib.parse.unquote(self.path.removeprefix("/phones/"))

    def do_GET(self):
        with self.service.lock:
            phone = self.service.phone(self.mac())
            shown = {"queued": len(phone.jobs), "results": phone.results}
        self.reply(200, json.dumps(shown).encode(), "application/json")

    def do_POST(self):
        try:
            items = {str(name): str(value) for name, value in json.loads(self.body()).items()}
            with self.service.lock:
                self.service.phone(self.mac()).jobs.append(items)
            called = self.service.call(self.mac())
        except (ValueError, AttributeError) as error:
            return self.reply(400, str(error).encode(), "text/plain")
        except (OSError, LookupError) as error:
            return self.reply(502, f"queued, but not called: {error}".encode(), "text/plain")
        self.reply(202, json.dumps({"called": called}).encode(), "application/json")


def address(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def item(text):
    name, _, value = text.partition("=")
    return name, value


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--listen", type=address, required=True, metavar="HOST:PORT", help="for phones, HTTPS")
    parser.add_argument("--cert", required=True, help="PEM")
    parser.add_argument("--key", required=True, help="PEM")
    parser.add_argument("--jobs", type=address, required=True, metavar="HOST:PORT", help="for jobs, HTTP on loopback")
    parser.add_argument("--write", type=item, action="append", default=[], metavar="NAME=VALUE", help="at start-up")
    parser.add_argument("--api", help="the relay's API; without it phones are contacted")
    parser.add_argument("--token", help="of the API")
    options = parser.parse_args()

    PhoneHandler.service = JobHandler.service = Service(dict(options.write), options.api, options.token)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(options.cert, options.key)
    phones = ThreadingHTTPServer(options.listen, PhoneHandler)
    # The handshake belongs to each connection's own thread: a silent phone must not hold up the others.
    phones.socket = context.wrap_socket(phones.socket, server_side=True, do_handshake_on_connect=False)
    jobs = ThreadingHTTPServer(options.jobs, JobHandler)
    threading.Thread(target=jobs.serve_forever, daemon=True).start()
    ready = {"msg": "ready", "phones": phones.server_port, "jobs": jobs.server_port}
    print(json.dumps(ready), flush=True)
    phones.serve_forever()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
